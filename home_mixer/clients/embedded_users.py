"""Users on LMDB: profiles, edges of the social graph and muted keywords.

Edges of one kind and user are one value of three arrays (targets ascending, event times, removed
flags), so a viewer's list is one lookup and one view. A removed edge stays as a tombstone with its
time: an older "follow" that arrives later must not win. Who blocks a user is kept as a reverse
list beside it; whether an author follows a user is looked up in the author's own list, since the
reverse of it has no bound.
"""

from __future__ import annotations

import struct
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.keys import edge_key, id_key, id_keys
from home_mixer.clients.lmdb_directory import LmdbDirectory, Transaction
from home_mixer.clients.memory import profile_batch
from home_mixer.clients.protocols import Ids, Mask, ProfileBatch, UserFeatures
from home_mixer.clients.reader_threads import ReaderThreads
from home_mixer.clients.writes import (
    BLOCK,
    FOLLOW,
    MUTE,
    SUBSCRIBE,
    EdgeChange,
    FeatureBatch,
    Profile,
)

PROFILES, EDGES, KEYWORDS = "profiles", "edges", "keywords"
BLOCKED_BY = 128 + BLOCK  # kind of the reverse list
EDGES_PER_USER_MAX = 100_000  # of one kind; beyond it the oldest changes are forgotten
KEYWORDS_PER_USER_MAX = 2_000

EdgeArrays = tuple[Ids, NDArray[np.int64], NDArray[np.bool_]]

_EDGE_BYTES = 8 + 8 + 1
_PROFILE = struct.Struct("<qBQ")
_KEYWORD = struct.Struct("<qBH")


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
        unique, inverse = np.unique(user_ids, return_inverse=True)
        with self._directory.read() as txn:
            found = {
                key: decode_profile(value) for key, value in txn.get_many(PROFILES, id_keys(unique))
            }
        batch = profile_batch([found.get(key) for key in id_keys(unique)])
        return ProfileBatch(
            found=batch.found[inverse],
            screen_name=batch.screen_name[inverse],
            verified=batch.verified[inverse],
            followers_count=batch.followers_count[inverse],
        )

    def _read_features(self, user_id: int) -> UserFeatures:
        with self._directory.read(views=True) as txn:
            words = decode_keywords(bytes(txn.get(KEYWORDS, id_key(user_id)) or b""))
            return UserFeatures(
                followed_user_ids=_live(txn, FOLLOW, user_id),
                blocked_user_ids=_live(txn, BLOCK, user_id),
                muted_user_ids=_live(txn, MUTE, user_id),
                subscribed_user_ids=_live(txn, SUBSCRIBE, user_id),
                muted_keywords=tuple(sorted(word for word, e in words.items() if not e.removed)),
            )

    def _read_blocks(self, user_id: int, author_ids: Ids) -> Mask:
        with self._directory.read(views=True) as txn:
            return np.isin(author_ids, _live(txn, BLOCKED_BY, user_id))

    def _read_follows(self, user_id: int, author_ids: Ids) -> Mask:
        unique, inverse = np.unique(author_ids, return_inverse=True)
        viewer = np.uint64(user_id)
        follows = np.zeros(unique.shape[0], np.bool_)
        with self._directory.read(views=True) as txn:
            for at, author_id in enumerate(unique.tolist()):
                value = txn.get(EDGES, edge_key(FOLLOW, author_id))
                follows[at] = value is not None and _holds(value, viewer)
                del value
        result: Mask = follows[inverse]
        return result


def _holds(value: memoryview, target_id: np.uint64) -> bool:
    targets, _, removed = decode_edges(value)
    at = int(np.searchsorted(targets, target_id))
    return at < targets.shape[0] and bool(targets[at] == target_id) and not removed[at]


def _live(txn: Transaction, kind: int, user_id: int) -> Ids:
    value = txn.get(EDGES, edge_key(kind, user_id))
    if value is None:
        return np.empty(0, np.uint64)
    targets, _, removed = decode_edges(value)
    live: Ids = targets[~removed]  # a copy: the view dies with the transaction
    return live


# ---- values ----


def encode_edges(edges: EdgeArrays) -> bytes:
    """Targets, times, removed flags, one array after the other."""
    targets, changed_at_ms, removed = edges
    return targets.tobytes() + changed_at_ms.tobytes() + removed.tobytes()


def decode_edges(value: bytes | memoryview) -> EdgeArrays:
    """Views of the stored arrays [E]."""
    count = len(value) // _EDGE_BYTES
    return (
        np.frombuffer(value, np.uint64, count),
        np.frombuffer(value, np.int64, count, offset=8 * count),
        np.frombuffer(value, np.bool_, count, offset=16 * count),
    )


def merge_edges(edges: EdgeArrays, newer: EdgeArrays) -> EdgeArrays:
    """Both, the newest change of each target; at equal times a removal wins."""
    targets, times, removed = (np.concatenate(pair) for pair in zip(edges, newer, strict=True))
    order = np.lexsort((removed, times, targets))
    targets, times, removed = targets[order], times[order], removed[order]
    last = np.append(targets[1:] != targets[:-1], True)
    targets, times, removed = targets[last], times[last], removed[last]
    if targets.shape[0] > EDGES_PER_USER_MAX:
        keep = np.sort(np.argsort(times, kind="stable")[-EDGES_PER_USER_MAX:])
        targets, times, removed = targets[keep], times[keep], removed[keep]
    return targets, times, removed


def decode_profile(value: bytes) -> Profile:
    """A profile of its stored value."""
    changed_at_ms, verified, followers = _PROFILE.unpack_from(value)
    return Profile(changed_at_ms, value[_PROFILE.size :].decode(), bool(verified), followers)


def encode_profile(profile: Profile) -> bytes:
    """The inverse of `decode_profile`."""
    header = _PROFILE.pack(profile.changed_at_ms, profile.verified, profile.followers_count)
    return header + profile.screen_name.encode()


def decode_keywords(value: bytes) -> dict[str, EdgeChange]:
    """Muted keywords with their last change."""
    words: dict[str, EdgeChange] = {}
    at = 0
    while at < len(value):
        changed_at_ms, removed, length = _KEYWORD.unpack_from(value, at)
        at += _KEYWORD.size
        words[value[at : at + length].decode()] = EdgeChange(changed_at_ms, bool(removed))
        at += length
    return words


def encode_keywords(words: dict[str, EdgeChange]) -> bytes:
    """The inverse of `decode_keywords`; the newest `KEYWORDS_PER_USER_MAX` changes stay."""
    newest = sorted(words.items(), key=lambda item: (item[1], item[0]))[-KEYWORDS_PER_USER_MAX:]
    parts: list[bytes] = []
    for word, change in sorted(newest):
        text = word.encode()
        parts += (_KEYWORD.pack(change.changed_at_ms, change.removed, len(text)), text)
    return b"".join(parts)


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
    rows: dict[tuple[int, int], list[tuple[int, EdgeChange]]] = defaultdict(list)
    for kind, user_id, target_id, change in batch.edges:
        rows[kind, user_id].append((target_id, change))
        if kind == BLOCK:
            rows[BLOCKED_BY, target_id].append((user_id, change))
    for kind, user_id in sorted(rows):
        changes = rows[kind, user_id]
        newer = (
            np.array([target for target, _ in changes], np.uint64),
            np.array([change.changed_at_ms for _, change in changes], np.int64),
            np.array([change.removed for _, change in changes], np.bool_),
        )
        key = edge_key(kind, user_id)
        edges = decode_edges(txn.get(EDGES, key) or b"")
        txn.put(EDGES, key, encode_edges(merge_edges(edges, newer)))


def _write_keywords(txn: Transaction, batch: FeatureBatch) -> None:
    rows: dict[int, list[tuple[str, EdgeChange]]] = defaultdict(list)
    for user_id, word, change in batch.keywords:
        rows[user_id].append((word, change))
    for user_id, changes in rows.items():
        words = decode_keywords(txn.get(KEYWORDS, id_key(user_id)) or b"")
        for word, change in changes:
            words[word] = max(change, words.get(word, change))
        txn.put(KEYWORDS, id_key(user_id), encode_keywords(words))
