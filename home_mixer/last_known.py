"""What stores last said, for the time when they do not answer: a table of fixed size.

Rows are found by a key of two 64-bit ids. A row's place follows from its key alone, so that
remembering and recalling thousands of rows are a few array operations, and memory is bounded by
construction. Two keys of one place push each other out: a row that is not found is one that is not
known, and what is not known fails closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from numpy.typing import DTypeLike, NDArray

from candidate_pipeline.schema import AnyArray
from home_mixer.clients.protocols import Ids, Mask, PostBatch, PostStore

REASON_STALE = "stale"  # a component's answer is made of what is known here

# Two days of a large community's candidates; 13 MB of columns, and texts that are held anyway.
POSTS_MAX = 1 << 17
LABELS_MAX = 1 << 17  # of posts that were about to be shown, some hundred a feed
BLOCKS_MAX = 1 << 20  # viewers times authors among their candidates; 26 MB

_MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd, random bits


class LastKnown:
    """Rows by key; columns of the types given."""

    def __init__(self, rows_max: int, columns: Mapping[str, DTypeLike]) -> None:
        """``rows_max``: a power of two. ValueError otherwise."""
        if rows_max < 2 or rows_max & (rows_max - 1):
            raise ValueError(f"rows_max is {rows_max}; expected a power of two")
        self._shift = np.uint64(64 - (rows_max.bit_length() - 1))
        self._first = np.zeros(rows_max, np.uint64)
        self._second = np.zeros(rows_max, np.uint64)
        self._read_at_ms = np.full(rows_max, -1, np.int64)  # −1: no row here
        self._columns = {name: np.zeros(rows_max, dtype) for name, dtype in columns.items()}

    def remember(
        self, first: Ids, second: Ids, columns: Mapping[str, AnyArray], read_at_ms: int
    ) -> None:
        """Rows [B] as read at this time."""
        at = self._places(first, second)
        self._first[at], self._second[at] = first, second
        self._read_at_ms[at] = read_at_ms
        for name, values in self._columns.items():
            values[at] = columns[name]

    def recall(self, first: Ids, second: Ids) -> tuple[NDArray[np.int64], dict[str, AnyArray]]:
        """(when each of [B] was read, in ms; −1 where it is not known; the columns [B])."""
        at = self._places(first, second)
        columns = {name: values[at] for name, values in self._columns.items()}
        return self.read_at_ms(first, second), columns

    def read_at_ms(self, first: Ids, second: Ids) -> NDArray[np.int64]:
        """[B]: the first part of `recall` alone, at a tenth of its cost."""
        at = self._places(first, second)
        held = (self._first[at] == first) & (self._second[at] == second)
        return np.where(held, self._read_at_ms[at], -1)

    def lacks(self, ids: Ids) -> Mask:
        """[B]: is there no row whose key is this id twice? For ids other than 0."""
        lacking: Mask = self._first.take(self._places(ids, ids)) != ids
        return lacking

    def _places(self, first: Ids, second: Ids) -> NDArray[np.intp]:
        mixed = (first * _MIX_1 + second) * _MIX_2
        return (mixed >> self._shift).astype(np.intp)


class LastKnownPosts:
    """A post store that remembers what it read. What is kept of a post never changes.

    (All but the labels, deletions and cards, which VisibilityHydrator asks for anew.)
    """

    def __init__(self, store: PostStore, posts_max: int = POSTS_MAX) -> None:
        self._store = store
        empty = {name: _dtype(name) for name in _POST_COLUMNS}
        self._rows = LastKnown(posts_max, empty)

    async def get_posts(self, post_ids: Ids) -> PostBatch:
        """The store's own answer, or its error."""
        batch = await self._store.get_posts(post_ids)
        new = (batch.found & self._rows.lacks(post_ids)).nonzero()[0]
        if len(new):
            columns = {name: getattr(batch, name)[new] for name in _POST_COLUMNS}
            self._rows.remember(post_ids[new], post_ids[new], columns, 0)
        return batch

    def last_known(self, post_ids: Ids) -> PostBatch:
        """Rows [B]; ``found`` false and all else empty where nothing is known."""
        read_at_ms, columns = self._rows.recall(post_ids, post_ids)
        known = read_at_ms >= 0
        for name, values in columns.items():
            values[~known] = "" if name == "text" else 0
        return PostBatch(**{**columns, "found": known})


_POST_COLUMNS = tuple(field.name for field in fields(PostBatch))
_OTHER_TYPES: dict[str, DTypeLike] = {
    "found": np.bool_,
    "deleted": np.bool_,
    "has_media": np.bool_,
    "labels": np.uint32,
    "video_duration_ms": np.uint32,
    "created_at_ms": np.int64,
    "text": object,
}


def _dtype(name: str) -> DTypeLike:
    return _OTHER_TYPES.get(name, np.uint64)


def is_fresh(read_at_ms: NDArray[np.int64], now_ms: int, stale_ms: int) -> Mask:
    """[B]: known, and read no longer than ``stale_ms`` ago. A clock that went back is no excuse
    for keeping a row longer: rows of the future count as read now."""
    return (read_at_ms >= 0) & (now_ms - read_at_ms <= stale_ms)
