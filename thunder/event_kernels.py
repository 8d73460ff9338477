"""Compiled reading of the compact topic's records, without a Python object an event.

Whatever is at all unusual is left alone (`LEFT`) for the plain decoder to judge: what is cut off or
malformed, ids of 0, a known field of another wire type or given twice where that would merge,
groups. Fields that we do not know are skipped. Source of the format:
https://protobuf.dev/programming-guides/encoding/

Glossary: n records; *at*, *end* a place in ``data`` and the first place that is no more part of
the message. Readers return the place after what they read, 0 where it cannot be read.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder.compiled import helper, kernel
from thunder.layout import REPLY, REPOST, VIDEO

# What became of a record.
LEFT: Final = 0
CREATE: Final = 1
STATUSES: Final = 2  # their number is not kept

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
VARINT_BYTES_MAX: Final = 10
TAG_BYTES_MAX: Final = 5  # a field's number has at most 29 bits
STATUS_BYTES_MIN: Final = 11  # of one that is taken: tag, length, tag, 8 bytes of an id
SEVEN_BITS: Final = np.uint64(0x7F)


@kernel
def read_events(
    data: Any, ends: Any, outcomes: Any, posts: Any, flags: Any, ids: Any, times_ms: Any, dead: Any
) -> Any:
    """Reads InNetworkEvents: data [bytes], of which record i ends at ends [n].

    Fills outcomes [n]; posts [n] ROW and flags [n] of the creates; ids, times_ms, dead
    [bytes / STATUS_BYTES_MIN] of the statuses. Returns (creates, statuses).
    """
    creates, statuses, begin = 0, 0, 0
    for i in range(ends.size):
        kind, body, body_end = event_body(data, begin, ends[i], STATUSES)
        begin = ends[i]
        outcomes[i] = LEFT
        if kind == CREATE and read_create(data, body, body_end, posts, flags, creates):
            outcomes[i] = CREATE
            creates += 1
        elif kind == STATUSES:
            taken = read_statuses(data, body, body_end, ids, times_ms, dead, statuses)
            if taken >= 0:
                outcomes[i] = STATUSES
                statuses += taken
    return creates, statuses


@helper
def event_body(data: Any, at: Any, end: Any, kinds: Any) -> Any:
    """(number of the field, 1 to ``kinds``, where its message begins, where it ends) of an event
    that is one of as many messages; LEFT unless there is exactly one."""
    kind, body, body_end = LEFT, at, at
    while at < end:
        at, number, wire = read_tag(data, at, end)
        if at == 0:
            return LEFT, 0, 0
        if number <= kinds:
            if kind != LEFT or wire != BYTES:
                return LEFT, 0, 0
            body, size = read_varint(data, at, end)
            if body == 0 or size > np.uint64(end - body):
                return LEFT, 0, 0
            kind, body_end = number, body + np.int64(size)
            at = body_end
        else:
            at = skip(data, at, end, wire)
            if at == 0:
                return LEFT, 0, 0
    return kind, body, body_end


@helper
def read_create(data: Any, at: Any, end: Any, posts: Any, flags: Any, row: Any) -> Any:
    """Whether the InNetworkCreate could be read into posts[row] and flags[row]."""
    zero = np.uint64(0)
    post_id = author_id = parent = parent_user = source = source_user = root = zero
    created_at_ms, video = zero, zero
    while at < end:
        at, number, wire = read_tag(data, at, end)
        if at == 0:
            return False
        if number == 3 or number == 9:
            if wire != VARINT:
                return False
            at, value = read_varint(data, at, end)
            if at == 0:
                return False
            if number == 3:
                created_at_ms = value
            else:
                video = value
        elif 1 <= number <= 8:
            if wire != FIXED64 or end - at < 8:
                return False
            value = read_fixed64(data, at)
            at += 8
            if number == 1:
                post_id = value
            elif number == 2:
                author_id = value
            elif number == 4:
                parent = value
            elif number == 5:
                parent_user = value
            elif number == 6:
                source = value
            elif number == 7:
                source_user = value
            else:
                root = value
        else:
            at = skip(data, at, end, wire)
            if at == 0:
                return False
    return keep_create(
        posts, flags, row, post_id, author_id, created_at_ms, parent, parent_user, source,
        source_user, root, video != 0,
    )  # fmt: skip


@helper
def keep_create(
    posts: Any, flags: Any, row: Any, post_id: Any, author_id: Any, created_at_ms: Any,
    parent: Any, parent_user: Any, source: Any, source_user: Any, root: Any, is_video: Any,
) -> Any:  # fmt: skip
    """Whether a create names its post and author; posts[row] and flags[row] hold it then."""
    if post_id == 0 or author_id == 0:
        return False
    post = posts[row]
    post.post_id = post_id
    post.author_id = author_id
    post.created_at_ms = np.int64(created_at_ms)
    post.in_reply_to_post_id = parent
    post.in_reply_to_user_id = parent_user
    post.source_post_id = source
    post.source_user_id = source_user
    post.conversation_id = root
    is_reply = parent != 0 or parent_user != 0
    flags[row] = (
        (REPLY if is_reply else 0) | (REPOST if source != 0 else 0) | (VIDEO if is_video else 0)
    )
    return True


@helper
def read_statuses(
    data: Any, at: Any, end: Any, ids: Any, times_ms: Any, dead: Any, first: Any
) -> Any:
    """How many InNetworkStatuses were read, from ``first`` on; −1 where one cannot be."""
    count = first
    while at < end:
        at, number, wire = read_tag(data, at, end)
        if at == 0:
            return -1
        if number != 1:
            at = skip(data, at, end, wire)
            if at == 0:
                return -1
            continue
        if wire != BYTES:
            return -1
        at, size = read_varint(data, at, end)
        if at == 0 or size > np.uint64(end - at):
            return -1
        status_end = at + np.int64(size)
        post_id, changed_at_ms, deleted = read_status(data, at, status_end)
        if post_id == 0:
            return -1
        ids[count], times_ms[count] = post_id, np.int64(changed_at_ms)
        dead[count] = 1 if deleted != 0 else 0
        count += 1
        at = status_end
    return count - first


@helper
def read_status(data: Any, at: Any, end: Any) -> Any:
    """(post id, time, deleted) of one InNetworkStatus; the id is 0 where it cannot be read."""
    zero = np.uint64(0)
    post_id = changed_at_ms = deleted = zero
    while at < end:
        at, number, wire = read_tag(data, at, end)
        if at == 0:
            return zero, zero, zero
        if number == 1:
            if wire != FIXED64 or end - at < 8:
                return zero, zero, zero
            post_id = read_fixed64(data, at)
            at += 8
        elif number == 2 or number == 3:
            if wire != VARINT:
                return zero, zero, zero
            at, value = read_varint(data, at, end)
            if at == 0:
                return zero, zero, zero
            if number == 2:
                changed_at_ms = value
            else:
                deleted = value
        else:
            at = skip(data, at, end, wire)
            if at == 0:
                return zero, zero, zero
    return post_id, changed_at_ms, deleted


@helper
def read_tag(data: Any, at: Any, end: Any) -> Any:
    """(place after it, field number, wire type); a place of 0 for a tag that cannot be."""
    first = data[at]
    if first < 0x80:  # fields 1 to 15: all of ours
        number = np.int64(first >> 3)
        return (at + 1 if number != 0 else 0), number, np.int64(first & 7)
    after, tag = read_varint(data, at, min(end, at + TAG_BYTES_MAX))
    number = np.int64(tag >> np.uint64(3))
    if number == 0 or tag > np.uint64(0xFFFFFFFF):
        after = 0
    return after, number, np.int64(tag & np.uint64(7))


@helper
def read_varint(data: Any, at: Any, end: Any) -> Any:
    """(place after it, value)."""
    value = np.uint64(0)
    for i in range(min(VARINT_BYTES_MAX, end - at)):
        byte = np.uint64(data[at + i])
        if i == VARINT_BYTES_MAX - 1 and byte > 1:
            break  # more than 64 bits
        value |= (byte & SEVEN_BITS) << np.uint64(7 * i)
        if byte < 0x80:
            return at + i + 1, value
    return 0, value


@helper
def read_fixed64(data: Any, at: Any) -> Any:
    value = np.uint64(0)
    for i in range(8):
        value |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return value


@helper
def skip(data: Any, at: Any, end: Any, wire: Any) -> Any:
    """The place after a field's value."""
    if wire == VARINT:
        after, _ = read_varint(data, at, end)
        return after
    if wire == BYTES:
        after, size = read_varint(data, at, end)
        if after == 0 or size > np.uint64(end - after):
            return 0
        return after + np.int64(size)
    after = at + (8 if wire == FIXED64 else 4)
    return after if wire in (FIXED64, FIXED32) and after <= end else 0
