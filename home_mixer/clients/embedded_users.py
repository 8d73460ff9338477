"""Users on LMDB: profiles, edges of the social graph and muted keywords.

Edges of one kind and user are one value of three arrays (targets ascending, event times, removed
flags), so a viewer's list is one lookup and one view. A removed edge stays as a tombstone with its
time: an older "follow" that arrives later must not win. Who blocks a user is kept as a reverse
list beside it; whether an author follows a user is looked up in the author's own list, since the
reverse of it has no bound.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.columns import profile_batch, sorted_rows
from home_mixer.clients.keys import edge_key, edge_keys, id_key, id_keys, ids_of
from home_mixer.clients.lmdb_directory import LmdbDirectory, Transaction
from home_mixer.clients.protocols import Ids, Mask, ProfileBatch, UserFeatures
from home_mixer.clients.reader_threads import ReaderThreads
from home_mixer.clients.user_values import (
    BLOCKED_BY,
    EDGE_BYTES,
    decode_edges,
    decode_profile,
    edges_by_list,
    encode_edges,
    encode_profile,
    keywords_by_user,
    live_keywords,
    live_targets,
    merge_edges,
    merge_keywords,
    profiles_of,
)
from home_mixer.clients.writes import (
    BLOCK,
    FOLLOW,
    MUTE,
    SUBSCRIBE,
    FeatureBatch,
)

PROFILES, EDGES, KEYWORDS = "profiles", "edges", "keywords"
_PROFILE_COLUMNS = tuple(field.name for field in fields(ProfileBatch))


class EmbeddedUserStore:
    """`ProfileStore` and `SocialGraphStore` on LMDB."""

    def __init__(self, directory: LmdbDirectory, threads: ReaderThreads) -> None:
        self._directory = directory
        self._threads = threads

    async def get_profiles(self, user_ids: Ids) -> ProfileBatch:
        """Rows [B]."""
        return await self._threads.run(self._read_profiles, user_ids)

    async def get_features(self, user_id: int) -> UserFeatures:
        """The viewer's lists."""
        return await self._threads.run(self._read_features, user_id)

    async def blocks_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]: one reverse list."""
        return await self._threads.run(self._read_blocks, user_id, author_ids)

    async def follows_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]: a binary search in each author's list."""
        return await self._threads.run(self._read_follows, user_id, author_ids)

    def _read_profiles(self, user_ids: Ids) -> ProfileBatch:
        unique = np.unique(user_ids)
        with self._directory.read() as txn:
            pairs = txn.get_many(PROFILES, id_keys(unique))
        known = ids_of([key for key, _ in pairs])
        batch = profiles_of([value for _, value in pairs])
        return _aligned(batch, *sorted_rows(user_ids, known))

    def _read_features(self, user_id: int) -> UserFeatures:
        with self._directory.read(views=True) as txn:
            words = bytes(txn.get(KEYWORDS, id_key(user_id)) or b"")
            return UserFeatures(
                followed_user_ids=_live(txn, FOLLOW, user_id),
                blocked_user_ids=_live(txn, BLOCK, user_id),
                muted_user_ids=_live(txn, MUTE, user_id),
                subscribed_user_ids=_live(txn, SUBSCRIBE, user_id),
                muted_keywords=live_keywords(words),
            )

    def _read_blocks(self, user_id: int, author_ids: Ids) -> Mask:
        with self._directory.read(views=True) as txn:
            return np.isin(author_ids, _live(txn, BLOCKED_BY, user_id))

    def _read_follows(self, user_id: int, author_ids: Ids) -> Mask:
        unique, inverse = np.unique(author_ids, return_inverse=True)
        keys = edge_keys(FOLLOW, unique)
        with self._directory.read(views=True) as txn:
            following = {bytes(k) for k, v in txn.get_many(EDGES, keys) if _holds(v, user_id)}
        follows = np.fromiter((key in following for key in keys), np.bool_, len(keys))
        result: Mask = follows.take(inverse)
        return result


def _aligned(batch: ProfileBatch, found: Mask, rows: NDArray[np.intp]) -> ProfileBatch:
    """Rows [B] of `found` ids at ``rows`` of the batch [F]; the others are empty."""
    if not len(batch.found):
        return profile_batch([None] * len(found))
    aligned = {name: getattr(batch, name).take(rows) for name in _PROFILE_COLUMNS}
    for name, values in aligned.items():
        values[~found] = "" if name == "screen_name" else 0
    return ProfileBatch(**aligned)


def _holds(value: memoryview, target_id: int) -> bool:
    """As `decode_edges` and a binary search say, at a third of their cost for a single target."""
    count = len(value) // EDGE_BYTES
    targets = value[: 8 * count].cast("Q")
    at = bisect_left(targets, target_id)
    return at < count and targets[at] == target_id and not value[16 * count + at]


def _live(txn: Transaction, kind: int, user_id: int) -> Ids:
    return live_targets(txn.get(EDGES, edge_key(kind, user_id)))


# ---- writing ----


def write_users(txn: Transaction, batch: FeatureBatch) -> None:
    """Merge the batch's user rows into the store."""
    _write_edges(txn, batch)
    _write_keywords(txn, batch)
    for user_id, profile in batch.profiles:
        old = txn.get(PROFILES, id_key(user_id))
        if old is None or profile > decode_profile(old):
            txn.put(PROFILES, id_key(user_id), encode_profile(profile))


def _write_edges(txn: Transaction, batch: FeatureBatch) -> None:
    rows = edges_by_list(batch)
    for kind, user_id in sorted(rows):
        key = edge_key(kind, user_id)
        edges = decode_edges(txn.get(EDGES, key) or b"")
        txn.put(EDGES, key, encode_edges(merge_edges(edges, rows[kind, user_id])))


def _write_keywords(txn: Transaction, batch: FeatureBatch) -> None:
    for user_id, changes in keywords_by_user(batch).items():
        old = txn.get(KEYWORDS, id_key(user_id)) or b""
        txn.put(KEYWORDS, id_key(user_id), merge_keywords(old, changes))
