"""What is known of posts apart from who saw them: tags, duration, creation, a content vector.

P posts, G tags, W numbers of a content vector. Nothing here is an outcome, so nothing can leak one.
A post that is not listed has no tags, an unknown duration and time, and a content vector of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Columns by ascending post id. ValueError: not ascending, or columns of different lengths."""

    post_ids: NDArray[np.int64]  # [P]
    tags: NDArray[np.int64]  # [P, G] ids, 0: none
    duration_seconds: NDArray[np.float32]  # [P], -1: unknown or no video
    created_at_ms: NDArray[np.int64]  # [P], 0: unknown
    content: NDArray[np.float32]  # [P, W]; W may be 0

    def __post_init__(self) -> None:
        columns = (self.post_ids, self.tags, self.duration_seconds, self.created_at_ms)
        lengths = {len(self.content), *(len(column) for column in columns)}
        if len(lengths) != 1:
            raise ValueError(f"Catalogue needs columns of one length, got {sorted(lengths)}")
        if (np.diff(self.post_ids) <= 0).any():
            raise ValueError("Catalogue.post_ids must ascend, each id once: sort and merge them")

    def tags_of(self, post_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """[...] → [..., G]."""
        return self._of(self.tags, post_ids, 0)

    def duration_of(self, post_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """[...] → [...] seconds."""
        return self._of(self.duration_seconds, post_ids, -1)

    def created_of(self, post_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """[...] → [...] milliseconds."""
        return self._of(self.created_at_ms, post_ids, 0)

    def content_of(self, post_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """[...] → [..., W]."""
        return self._of(self.content, post_ids, 0)

    def _of(
        self, column: NDArray[Any], post_ids: NDArray[np.int64], unknown: float
    ) -> NDArray[Any]:
        if len(self.post_ids) == 0:
            return np.full((*post_ids.shape, *column.shape[1:]), unknown, column.dtype)
        at = np.minimum(np.searchsorted(self.post_ids, post_ids), len(self.post_ids) - 1)
        found = self.post_ids[at] == post_ids
        found = found.reshape(*found.shape, *[1] * (column.ndim - 1))
        return np.where(found, column[at], np.asarray(unknown, column.dtype))
