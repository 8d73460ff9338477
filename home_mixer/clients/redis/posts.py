"""Posts on Redis: the content, which never changes, and a small status, which does.

A content is cached in process; deletion, labels and the card of a quoted post are read anew each
time, in the same MGET as the contents that the cache lacks. A content whose status is missing has
expired and is not found.
Glossary: U unique ids asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.columns import (
    DELETED,
    HAS_CONTENT,
    HAS_MEDIA,
    POST_HEADER,
    QUOTE_GONE,
    empty_texts,
    headers_of,
    post_batch,
    texts_of,
    visibility_batch,
)
from home_mixer.clients.protocols import Ids, PostBatch, VisibilityBatch
from home_mixer.clients.redis.content_cache import ContentCache
from home_mixer.clients.redis.keys import buckets_of
from home_mixer.clients.redis.reader import RedisReader
from home_mixer.clients.writes import PostState

STATUS_VERSION = 1
STATUS = struct.Struct("<BBIqq")  # version, flags, labels, status_at_ms, labels_at_ms
_STATUS_ROW = np.dtype(
    [
        ("version", "u1"),
        ("flags", "u1"),
        ("labels", "<u4"),
        ("status_at_ms", "<i8"),
        ("labels_at_ms", "<i8"),
    ]
)
_EMPTY_STATUS = bytes(STATUS.size)


class RedisPostStore:
    """`PostStore` and `VisibilityLabelStore`."""

    def __init__(self, reader: RedisReader, cache: ContentCache) -> None:
        self._reader = reader
        self._cache = cache

    async def get_posts(self, post_ids: Ids) -> PostBatch:
        """Rows [B]."""
        unique, inverse = np.unique(post_ids, return_inverse=True)
        ids, buckets = unique.tolist(), buckets_of(unique)
        contents = self._cache.get(ids)
        lacking = [row for row, value in enumerate(contents) if value is None]
        keys = self._reader.keys
        statuses = keys.statuses(ids, buckets)
        more_buckets = [buckets[row] for row in lacking]
        more = keys.posts([ids[row] for row in lacking], more_buckets)
        found = await self._reader.values([*statuses, *more], [*buckets, *more_buckets])
        for row, value in zip(lacking, found[len(ids) :], strict=True):
            contents[row] = value
        self._cache.put(ids, contents)
        headers, texts = _rows(found[: len(ids)], contents)
        return post_batch(headers[inverse], texts[inverse])

    async def get_visibility(self, post_ids: Ids) -> VisibilityBatch:
        """Rows [B]."""
        unique, inverse = np.unique(post_ids, return_inverse=True)
        buckets = buckets_of(unique)
        keys = self._reader.keys.statuses(unique.tolist(), buckets)
        statuses = status_rows(await self._reader.values(keys, buckets))
        return visibility_batch(statuses[inverse])


def _rows(
    statuses: Sequence[bytes | None], contents: Sequence[bytes | None]
) -> tuple[NDArray[np.void], NDArray[np.object_]]:
    """Whole headers [U] and texts [U] of what is stored of U posts."""
    values = [value for value in contents if value is not None]
    at = np.array([value is not None for value in contents], np.bool_)
    headers = np.zeros(len(contents), POST_HEADER)
    headers[at] = headers_of(values)
    texts = empty_texts(len(contents))
    texts[at] = texts_of(values)
    status = status_rows(statuses)
    media = headers["flags"] & HAS_MEDIA
    known = status["flags"] & np.where(at, 0xFF, 0xFF & ~HAS_CONTENT).astype(np.uint8)
    for name in ("labels", "status_at_ms", "labels_at_ms"):
        headers[name] = status[name]
    headers["flags"] = known | media
    gone = (known & HAS_CONTENT) == 0
    headers[gone] = _without_content(headers[gone])
    texts[gone] = ""
    return headers, texts


def _without_content(headers: NDArray[np.void]) -> NDArray[np.void]:
    bare = np.zeros(headers.shape[0], POST_HEADER)
    for name in ("flags", "labels", "status_at_ms", "labels_at_ms"):
        bare[name] = headers[name]
    bare["flags"] &= np.uint8(0xFF & ~HAS_MEDIA)
    return bare


def status_rows(values: Sequence[bytes | None]) -> NDArray[np.void]:
    """[U] structured statuses; zeros where there is none."""
    return np.frombuffer(b"".join([value or _EMPTY_STATUS for value in values]), _STATUS_ROW)


def merged_status(old: bytes | None, newer: PostState) -> bytes:
    """The stored status after ``newer``, by the laws of `PostState`."""
    flags, state = 0, PostState()
    if old is not None:
        _, flags, state.labels, state.status_at_ms, state.labels_at_ms = STATUS.unpack(old)
        state.deleted = bool(flags & DELETED)
    state.merge_status(newer.deleted, newer.status_at_ms)
    state.merge_labels(newer.labels, newer.labels_at_ms)
    kept = flags & (HAS_CONTENT | QUOTE_GONE)
    added = (HAS_CONTENT if newer.content is not None else 0) | (
        QUOTE_GONE if newer.quote_gone else 0
    )
    flags = kept | added | (DELETED if state.deleted else 0)
    return STATUS.pack(STATUS_VERSION, flags, state.labels, state.status_at_ms, state.labels_at_ms)
