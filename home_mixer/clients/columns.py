"""Columns from stored values: numpy layouts of posts, and alignment of what was found.

A stored post is ``POST_HEADER`` (packed, little endian) followed by its text in UTF-8. A batch is
decoded by joining the headers and viewing them as one structured array: no Python work per field.
Glossary: B ids asked for, F ids found.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.protocols import (
    Ids,
    Mask,
    Objects,
    PostBatch,
    ProfileBatch,
    VisibilityBatch,
)
from home_mixer.clients.writes import PostContent, PostState, Profile

POST_HEADER_FORMAT = "<BBIqqqQQQQQQQQQI"
POST_HEADER = np.dtype(
    [
        ("version", "u1"),
        ("flags", "u1"),
        ("labels", "<u4"),
        ("status_at_ms", "<i8"),
        ("labels_at_ms", "<i8"),
        ("created_at_ms", "<i8"),
        ("author_id", "<u8"),
        ("in_reply_to_post_id", "<u8"),
        ("in_reply_to_user_id", "<u8"),
        ("conversation_id", "<u8"),
        ("reposted_post_id", "<u8"),
        ("reposted_user_id", "<u8"),
        ("quoted_post_id", "<u8"),
        ("quoted_user_id", "<u8"),
        ("subscription_author_id", "<u8"),
        ("video_duration_ms", "<u4"),
    ]
)
POST_HEADER_BYTES = struct.calcsize(POST_HEADER_FORMAT)
POST_VERSION = 1
HAS_CONTENT, DELETED, QUOTE_GONE, HAS_MEDIA = 1, 2, 4, 8  # bits of "flags"

_ID_COLUMNS = (
    "in_reply_to_post_id",
    "in_reply_to_user_id",
    "conversation_id",
    "reposted_post_id",
    "reposted_user_id",
    "subscription_author_id",
)
_NO_CONTENT = PostContent(author_id=0, created_at_ms=0)


def encode_post(state: PostState) -> bytes:
    """The stored value of one post."""
    content = state.content or _NO_CONTENT
    flags = (
        (HAS_CONTENT if state.content is not None else 0)
        | (DELETED if state.deleted else 0)
        | (QUOTE_GONE if state.quote_gone else 0)
        | (HAS_MEDIA if content.has_media else 0)
    )
    header = struct.pack(
        POST_HEADER_FORMAT,
        POST_VERSION,
        flags,
        state.labels,
        state.status_at_ms,
        state.labels_at_ms,
        content.created_at_ms,
        content.author_id,
        *content[2:11],
    )
    return header + content.text.encode()


def decode_post(value: bytes) -> PostState:
    """The inverse of `encode_post`."""
    fields: tuple[Any, ...] = struct.unpack(POST_HEADER_FORMAT, value[:POST_HEADER_BYTES])
    _, flags, labels, status_at_ms, labels_at_ms, created_at_ms, author_id, *rest = fields
    content = None
    if flags & HAS_CONTENT:
        text = value[POST_HEADER_BYTES:].decode()
        has_media = bool(flags & HAS_MEDIA)
        content = PostContent._make((author_id, created_at_ms, *rest, has_media, text))
    return PostState(
        content=content,
        deleted=bool(flags & DELETED),
        status_at_ms=status_at_ms,
        labels=labels,
        labels_at_ms=labels_at_ms,
        quote_gone=bool(flags & QUOTE_GONE),
    )


def headers_of(values: Sequence[bytes | memoryview]) -> NDArray[np.void]:
    """[F] structured headers of stored posts."""
    return np.frombuffer(b"".join([value[:POST_HEADER_BYTES] for value in values]), POST_HEADER)


def texts_of(values: Sequence[bytes]) -> Objects:
    """[F] texts of stored posts."""
    texts = np.empty(len(values), dtype=object)
    texts[:] = [value[POST_HEADER_BYTES:].decode() for value in values]
    return texts


def post_batch(headers: NDArray[np.void], texts: Objects) -> PostBatch:
    """A `PostBatch` of headers [B] (zeros: not found) and texts [B]."""
    flags = headers["flags"]
    card = (flags & QUOTE_GONE) == 0
    columns = {name: np.ascontiguousarray(headers[name]) for name in _ID_COLUMNS}
    return PostBatch(
        found=(flags & HAS_CONTENT) != 0,
        deleted=(flags & DELETED) != 0,
        labels=np.ascontiguousarray(headers["labels"]),
        author_id=np.ascontiguousarray(headers["author_id"]),
        created_at_ms=np.ascontiguousarray(headers["created_at_ms"]),
        quoted_post_id=headers["quoted_post_id"] * card,
        quoted_user_id=headers["quoted_user_id"] * card,
        video_duration_ms=np.ascontiguousarray(headers["video_duration_ms"]),
        has_media=(flags & HAS_MEDIA) != 0,
        text=texts,
        **columns,
    )


def visibility_batch(headers: NDArray[np.void]) -> VisibilityBatch:
    """A `VisibilityBatch` of headers [B] (zeros: not found)."""
    flags = headers["flags"]
    return VisibilityBatch(
        found=(flags & HAS_CONTENT) != 0,
        deleted=(flags & DELETED) != 0,
        labels=np.ascontiguousarray(headers["labels"]),
    )


def profile_batch(rows: list[Profile | None]) -> ProfileBatch:
    """Columns of profiles [B]; None: not found."""
    names = empty_texts(len(rows))
    names[:] = [row.screen_name if row else "" for row in rows]
    return ProfileBatch(
        found=np.array([row is not None for row in rows], np.bool_),
        screen_name=names,
        verified=np.array([row is not None and row.verified for row in rows], np.bool_),
        followers_count=np.array([row.followers_count if row else 0 for row in rows], np.int64),
    )


def empty_texts(count: int) -> Objects:
    """[count] empty strings."""
    texts = np.empty(count, dtype=object)
    texts[:] = ""
    return texts


def sorted_rows(ids: Ids, known: Ids) -> tuple[Mask, NDArray[np.intp]]:
    """For ids [B] in a sorted array ``known`` [K]: found mask [B] and row in ``known`` [B]."""
    if known.shape[0] == 0:
        return np.zeros(ids.shape[0], np.bool_), np.zeros(ids.shape[0], np.intp)
    rows = np.minimum(np.searchsorted(known, ids), known.shape[0] - 1)
    found: Mask = known[rows] == ids
    return found, rows
