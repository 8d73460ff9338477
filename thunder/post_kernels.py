"""Compiled reading of ``foryou.posts``, without a Python object an event.

What concerns the store is read: creates, deletes and their undoing. All else is left alone
(`event_kernels.LEFT`) for the plain decoder to count or to judge, and so is whatever is at all
unusual, as in event_kernels. Texts are not kept, but must be UTF-8: to the generated classes an
event with another text is poison.

Glossary: n records; *at*, *end* a place in ``data`` and the first place that is no more part of
the message. Readers return the place after what they read, 0 where it cannot be read.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder.compiled import helper, kernel
from thunder.event_kernels import (
    BYTES,
    CREATE,
    LEFT,
    VARINT,
    event_body,
    keep_create,
    read_tag,
    read_varint,
    skip,
)

DELETE: Final = 2
UNDELETE: Final = 3
KINDS: Final = 5  # of the oneof; one that is set twice must not pass for one that is set once
TEXT, LANGUAGE, MEDIA, LAST_FIELD = 4, 5, 13, 14  # of PostCreate
KIND_VIDEO: Final = 2
VIDEO_MS_MIN: Final = 5_000  # x-algorithm, MIN_VIDEO_DURATION
LOW_32: Final = np.uint64(0xFFFFFFFF)  # what is kept of an enum's and a uint32's varint
ASCII_MAX: Final = 0x7F


@kernel
def read_posts(
    data: Any, ends: Any, outcomes: Any, posts: Any, flags: Any, ids: Any, times_ms: Any, dead: Any
) -> Any:
    """Reads PostEvents: data [bytes], of which record i ends at ends [n].

    Fills outcomes [n]; posts [n] ROW and flags [n] of the creates; ids, times_ms, dead [n] of the
    deletes and undeletes. Returns (creates, statuses).
    """
    creates, statuses, begin = 0, 0, 0
    for i in range(ends.size):
        kind, body, body_end = event_body(data, begin, ends[i], KINDS)
        begin = ends[i]
        outcomes[i] = LEFT
        if kind == CREATE:
            if read_create(data, body, body_end, posts, flags, creates):
                outcomes[i] = CREATE
                creates += 1
        elif kind in (DELETE, UNDELETE):
            post_id, changed_at_ms = read_change(data, body, body_end)
            if post_id != 0:
                ids[statuses], times_ms[statuses] = post_id, np.int64(changed_at_ms)
                dead[statuses] = 1 if kind == DELETE else 0
                outcomes[i] = kind
                statuses += 1
    return creates, statuses


@helper
def read_create(data: Any, at: Any, end: Any, posts: Any, flags: Any, row: Any) -> Any:
    """Whether the PostCreate could be read into posts[row] and flags[row]."""
    zero = np.uint64(0)
    post_id = author_id = created_at_ms = parent = parent_user = root = zero
    source = source_user = kind = duration_ms = zero
    media = 0
    while at < end:
        at, number, wire = read_tag(data, at, end)
        if at == 0:
            return False
        if number in (TEXT, LANGUAGE, MEDIA):
            if wire != BYTES:
                return False
            at, size = read_varint(data, at, end)
            if at == 0 or size > np.uint64(end - at):
                return False
            part, at = at, at + np.int64(size)
            if number == MEDIA:
                media += 1
                readable, kind, duration_ms = read_medium(data, part, at)
                if not readable:
                    return False
            elif not is_utf8(data, part, at):
                return False
        elif number <= LAST_FIELD:
            if wire != VARINT:
                return False
            at, value = read_varint(data, at, end)
            if at == 0:
                return False
            if number == 1:
                post_id = value
            elif number == 2:
                author_id = value
            elif number == 3:
                created_at_ms = value
            elif number == 6:
                parent = value
            elif number == 7:
                parent_user = value
            elif number == 8:
                root = value
            elif number == 9:
                source = value
            elif number == 10:
                source_user = value
        else:
            at = skip(data, at, end, wire)
            if at == 0:
                return False
    is_video = media == 1 and kind == KIND_VIDEO and duration_ms >= VIDEO_MS_MIN
    return keep_create(
        posts, flags, row, post_id, author_id, created_at_ms, parent, parent_user, source,
        source_user, root, is_video,
    )  # fmt: skip


@helper
def read_medium(data: Any, at: Any, end: Any) -> Any:
    """(whether it could be read, kind, duration in ms) of one Media."""
    kind = duration_ms = np.uint64(0)
    while at < end:
        at, number, wire = read_tag(data, at, end)
        if at == 0:
            return False, kind, duration_ms
        if number == 1 or number == 2:
            if wire != VARINT:
                return False, kind, duration_ms
            at, value = read_varint(data, at, end)
            if number == 1:
                kind = value & LOW_32
            else:
                duration_ms = value & LOW_32
        else:
            at = skip(data, at, end, wire)
        if at == 0:
            return False, kind, duration_ms
    return True, kind, duration_ms


@helper
def read_change(data: Any, at: Any, end: Any) -> Any:
    """(post id, time) of a PostDelete or PostUndelete; the id is 0 where it cannot be read."""
    zero = np.uint64(0)
    post_id = changed_at_ms = zero
    while at < end:
        at, number, wire = read_tag(data, at, end)
        if at == 0:
            return zero, zero
        if number <= 3:
            if wire != VARINT:
                return zero, zero
            at, value = read_varint(data, at, end)
            if number == 1:
                post_id = value
            elif number == 3:
                changed_at_ms = value
        else:
            at = skip(data, at, end, wire)
        if at == 0:
            return zero, zero
    return post_id, changed_at_ms


@helper
def is_utf8(data: Any, at: Any, end: Any) -> Any:
    """Whether these bytes are UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF)."""
    every = np.uint8(0)
    for i in range(at, end):
        every |= data[i]
    if every <= ASCII_MAX:
        return True
    while at < end:
        first = data[at]
        if first <= ASCII_MAX:
            at += 1
            continue
        if first < 0xC2 or first > 0xF4:
            return False  # a continuation, two bytes for ASCII, or beyond U+10FFFF
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if end - at <= more:
            return False
        for i in range(1, more + 1):
            if data[at + i] & 0xC0 != 0x80:
                return False
        second = data[at + 1]
        if (
            (first == 0xE0 and second < 0xA0)  # could be shorter
            or (first == 0xED and second > 0x9F)  # a surrogate
            or (first == 0xF0 and second < 0x90)  # could be shorter
            or (first == 0xF4 and second > 0x8F)  # beyond U+10FFFF
        ):
            return False
        at += more + 1
    return True
