"""Stored values of users: edges, keywords and profiles, and how two of them merge.

The same bytes in LMDB and in Redis. Edges of one kind and user are three arrays, one after the
other: targets ascending (8 bytes), event times (8), removed flags (1). A removed edge stays as a
tombstone with its time: an older "follow" that arrives later must not win.
Glossary: E edges.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.protocols import Ids, ProfileBatch
from home_mixer.clients.writes import BLOCK, EdgeChange, FeatureBatch, Profile

BLOCKED_BY = 128 + BLOCK  # kind of the reverse list
EDGES_PER_USER_MAX = 100_000  # of one kind; beyond it the oldest changes are forgotten
KEYWORDS_PER_USER_MAX = 2_000

EdgeArrays = tuple[Ids, NDArray[np.int64], NDArray[np.bool_]]

EDGE_BYTES = 8 + 8 + 1
_PROFILE = struct.Struct("<qBQ")
_PROFILE_FIELDS = np.dtype(
    [("changed_at_ms", "<i8"), ("verified", "u1"), ("followers_count", "<u8")]
)
_KEYWORD = struct.Struct("<qBH")


def encode_edges(edges: EdgeArrays) -> bytes:
    """Targets, times, removed flags, one array after the other."""
    targets, changed_at_ms, removed = edges
    return targets.tobytes() + changed_at_ms.tobytes() + removed.tobytes()


def decode_edges(value: bytes | memoryview) -> EdgeArrays:
    """Views of the stored arrays [E]."""
    count = len(value) // EDGE_BYTES
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


def profiles_of(values: Sequence[bytes]) -> ProfileBatch:
    """Rows [F] of stored profiles, all found: `decode_profile` of many at once."""
    headers = [value[: _PROFILE.size] for value in values]
    rows = np.frombuffer(b"".join(headers), _PROFILE_FIELDS)
    names = np.empty(len(values), dtype=object)
    names[:] = [value[_PROFILE.size :].decode() for value in values]
    return ProfileBatch(
        found=np.ones(len(values), np.bool_),
        screen_name=names,
        verified=rows["verified"] != 0,
        followers_count=rows["followers_count"].astype(np.int64),
    )


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


def live_targets(value: bytes | memoryview | None) -> Ids:
    """Targets that are not removed, ascending; a copy."""
    if value is None:
        return np.empty(0, np.uint64)
    targets, _, removed = decode_edges(value)
    live: Ids = targets[~removed]
    return live


def live_keywords(value: bytes) -> tuple[str, ...]:
    """Muted keywords that are not removed, sorted."""
    return tuple(sorted(word for word, e in decode_keywords(value).items() if not e.removed))


def merge_keywords(value: bytes, changes: list[tuple[str, EdgeChange]]) -> bytes:
    """The stored value after ``changes``; the largest change of each word stays."""
    words = decode_keywords(value)
    for word, change in changes:
        words[word] = max(change, words.get(word, change))
    return encode_keywords(words)


def edges_by_list(batch: FeatureBatch) -> dict[tuple[int, int], EdgeArrays]:
    """The batch's changes by the list that they change: (kind, user), and blocks also reversed."""
    rows: dict[tuple[int, int], list[tuple[int, EdgeChange]]] = defaultdict(list)
    for kind, user_id, target_id, change in batch.edges:
        rows[kind, user_id].append((target_id, change))
        if kind == BLOCK:
            rows[BLOCKED_BY, target_id].append((user_id, change))
    return {at: _arrays(changes) for at, changes in rows.items()}


def _arrays(changes: list[tuple[int, EdgeChange]]) -> EdgeArrays:
    return (
        np.array([target for target, _ in changes], np.uint64),
        np.array([change.changed_at_ms for _, change in changes], np.int64),
        np.array([change.removed for _, change in changes], np.bool_),
    )


def keywords_by_user(batch: FeatureBatch) -> dict[int, list[tuple[str, EdgeChange]]]:
    """The batch's changes of muted keywords."""
    rows: dict[int, list[tuple[str, EdgeChange]]] = defaultdict(list)
    for user_id, word, change in batch.keywords:
        rows[user_id].append((word, change))
    return rows
