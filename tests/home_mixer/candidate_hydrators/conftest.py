"""A store that counts its round trips and can be taken down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.protocols import StoreError


class CountingStore(MemoryFeatureStore):
    """Counts calls by name; raises while ``down``."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.down = False

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise StoreError("the disk is gone")

    async def get_posts(self, post_ids: Any) -> Any:
        self._called("get_posts")
        return await super().get_posts(post_ids)

    async def get_visibility(self, post_ids: Any) -> Any:
        self._called("get_visibility")
        return await super().get_visibility(post_ids)

    async def get_profiles(self, user_ids: Any) -> Any:
        self._called("get_profiles")
        return await super().get_profiles(user_ids)

    async def blocks_viewer(self, user_id: int, author_ids: Any) -> Any:
        self._called("blocks_viewer")
        return await super().blocks_viewer(user_id, author_ids)

    async def follows_viewer(self, user_id: int, author_ids: Any) -> Any:
        self._called("follows_viewer")
        return await super().follows_viewer(user_id, author_ids)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture(scope="session")
def as_lists() -> Any:
    """Columns as lists, for comparing."""
    return lambda columns: {name: np.asarray(values).tolist() for name, values in columns.items()}
