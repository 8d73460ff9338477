"""One small world that the tests of the command share."""

from __future__ import annotations

import pytest

from foryou.world import World, WorldConfig, generate

NOW_MS = 1_795_000_000_000


@pytest.fixture(scope="session")
def world_config() -> WorldConfig:
    return WorldConfig(seed=7, users=400, now_ms=NOW_MS)


@pytest.fixture(scope="session")
def world(world_config: WorldConfig) -> World:
    return generate(world_config)
