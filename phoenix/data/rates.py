"""How often every action was taken on a post, by an author's posts, under a tag, by a viewer,
counted strictly before a moment; and the same at the end of the data, as a checkpoint's tables.

N rows, A actions. A count [2A] is: rows with the action, then rows where its outcome is known.

No leakage: a count at time t holds rows with `known_at_ms < t`, so neither the row that is asked
for nor anything after it. The tables of the end are what serving reads; they are as fresh as the
checkpoint, and each new version refreshes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix.config import RankerConfig
from phoenix.data.grouped import GroupedTimes
from phoenix.data.impressions import Impressions
from phoenix.features import author_hashes, post_hashes, tag_hashes, user_hashes


class RatesBatch(NamedTuple):
    """Counts of one batch, zero where padded."""

    user: NDArray[np.float32]  # [B, 2A]
    keys: tuple[NDArray[np.float32], ...]  # post, author and, if read, tags: [B, C, 2A] each


class RatesReader:
    """Answers counts strictly before any time. Rows with weight 0 are no targets and not counted.

    Memory: N · 2A · 4 bytes a kind of key.
    """

    def __init__(self, impressions: Impressions, config: RankerConfig) -> None:
        rows = impressions.take(impressions.weight > 0)
        counted = _counted(rows)
        at_ms = np.maximum(rows.known_at_ms, rows.impressed_at_ms)
        self._config = config
        self._post = _Before(rows.post_ids, at_ms, counted)
        self._author = _Before(rows.author_ids, at_ms, counted)
        self._user = _Before(rows.viewer_ids, at_ms, counted)
        self._tag: _Before | None = None
        if config.tag_rows and rows.catalogue is not None:
            tags = rows.catalogue.tags_of(rows.post_ids)[:, : config.tags_max]
            row, slot = np.nonzero(tags)
            self._tag = _Before(tags[row, slot], at_ms[row], counted[row])

    def read(
        self,
        viewer_ids: NDArray[np.int64],
        post_ids: NDArray[np.int64],
        author_ids: NDArray[np.int64],
        tags: NDArray[np.int64] | None,
        at_ms: NDArray[np.int64],
    ) -> RatesBatch:
        """Viewers [B], posts and authors [B, C], tags [B, C, G], times [B]; 0 is unknown."""
        each = np.broadcast_to(at_ms[:, None], post_ids.shape)
        keys = [self._post.counts(post_ids, each), self._author.counts(author_ids, each)]
        if self._config.tag_rows:
            keys.append(self._tag_counts(tags, post_ids.shape, at_ms))
        return RatesBatch(self._user.counts(viewer_ids, at_ms), tuple(keys))

    def _tag_counts(
        self, tags: NDArray[np.int64] | None, shape: tuple[int, ...], at_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if self._tag is None or tags is None:
            return np.zeros((*shape, 2 * self._config.num_actions), np.float32)
        kept = tags[..., : self._config.tags_max]
        counts = self._tag.counts(kept, np.broadcast_to(at_ms[:, None, None], kept.shape))
        summed: NDArray[np.float32] = counts.sum(axis=-2)
        return summed


class _Before:
    """Running counts of one kind of key."""

    def __init__(
        self, keys: NDArray[np.int64], at_ms: NDArray[np.int64], counted: NDArray[np.float32]
    ) -> None:
        order = np.lexsort((at_ms, keys))
        self._keys, group = np.unique(keys[order], return_inverse=True)
        self._times = GroupedTimes(group.astype(np.int64), at_ms[order], len(self._keys))
        # Whole numbers below 2^24: float32 is exact, and differences are too.
        self._running = np.zeros((len(keys) + 1, counted.shape[1]), np.float32)
        for column in range(counted.shape[1]):
            self._running[1:, column] = np.cumsum(counted[order, column], dtype=np.float64)

    def counts(self, keys: NDArray[np.int64], at_ms: NDArray[np.int64]) -> NDArray[np.float32]:
        """[...] keys and times → [..., 2A]; a key that is 0 or was never seen has zeros."""
        if len(self._keys) == 0:
            return np.zeros((*keys.shape, self._running.shape[1]), np.float32)
        group = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        start = self._times.starts[group]
        end = self._times.first_at_or_after(group.ravel(), at_ms.ravel()).reshape(keys.shape)
        found = (self._keys[group] == keys) & (keys != 0)
        difference = self._running[end] - self._running[start]
        return np.where(found[..., None], difference, np.float32(0))


def rate_tables(
    impressions: Impressions, config: RankerConfig
) -> Mapping[str, NDArray[np.float32]]:
    """All counts at the end of the data, by hash row: the tables of `tables.rate_table_shapes`."""
    rows = impressions.take(impressions.weight > 0)
    counted = _counted(rows)
    tables = {
        "post_rates": _by_hash(post_hashes(config, rows.post_ids), counted, config.post_rows),
        "author_rates": _by_hash(
            author_hashes(config, rows.author_ids), counted, config.author_rows
        ),
        "user_rates": _by_hash(user_hashes(config, rows.viewer_ids), counted, config.user_rows),
    }
    if config.tag_rows:
        tags = np.zeros((len(rows), 1), np.int64)
        if rows.catalogue is not None:
            tags = rows.catalogue.tags_of(rows.post_ids)[:, : config.tags_max]
        tables["tag_rates"] = _by_hash(tag_hashes(config, tags), counted, config.tag_rows)
    return tables


def _counted(rows: Impressions) -> NDArray[np.float32]:
    """[N, 2A]: taken, known."""
    return np.concatenate([rows.labels * rows.labels_known, rows.labels_known], axis=1).astype(
        np.float32
    )


def _by_hash(
    hashes: NDArray[np.int32], counted: NDArray[np.float32], size: int
) -> NDArray[np.float32]:
    """Hashes [N, J], counted [N, 2A] → [rows, 2A]; row 0, padding, stays zero.

    An id whose two hashes are one row is counted twice there: too high, as any shared row is.
    """
    table = np.zeros((size, counted.shape[1]), np.float32)
    for column in range(counted.shape[1]):
        for hashed in hashes.T:
            table[:, column] += np.bincount(hashed, counted[:, column], size)
    table[0] = 0.0
    return table
