"""Protobuf's bytes to columns and back in compiled code, without a Python object a post.

An answer that is mostly one repeated message of varints is read row by row; the ranker's candidates
and the viewer's events are written as protobuf itself would write them. What is not of this shape
but valid all the same is left to the generated classes.
Glossary: N rows (messages of the repeated field), F fields of a row by their numbers, L bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from home_mixer.compiled import Byte, Id, Int, helper, kernel, read, written

_LENGTH_DELIMITED: Final = 2  # kinds of values on the wire
_VARINT: Final = 0
_FOUR_BYTES: Final = 5
_MORE: Final = 0x80  # in a varint's byte: another follows
_VARINT_BYTES_MAX: Final = 10
CANDIDATE_BYTES_MAX: Final = 2 + 2 * (1 + _VARINT_BYTES_MAX) + 1 + 5  # tag and length, then fields
ACTIONS_MAX: Final = 32  # of an event; their numbers are below 128, one byte each
# Tag and length, three numbers, the actions, seconds, the surface: together below 128 bytes.
EVENT_BYTES_MAX: Final = 2 + 3 * (1 + _VARINT_BYTES_MAX) + 2 + ACTIONS_MAX + 5 + 11
_SEVEN: Final = np.uint64(7)
_LOW: Final = np.uint64(0x7F)


def message_rows(
    message: bytes, field: int, fields: int, *, fixed: int = 0
) -> tuple[NDArray[np.uint64], bytes] | None:
    """(columns [F, N] of the rows in front, the bytes behind them). 0 where a field is unset.

    ``field``: number of the repeated field. ``fields``: F. ``fixed``: the row's field of four
    bytes, whose values are not given. None where a row has other fields than varints below F.
    """
    data, tag = np.frombuffer(message, np.uint8), field << 3 | _LENGTH_DELIMITED
    count = _count_rows(data, tag)
    if count < 0:
        return None
    columns = np.zeros((fields, count), np.uint64)
    behind = _read_rows(data, columns.reshape(-1), count, fields, fixed)
    return None if behind < 0 else (columns, message[behind:])


@helper
def _varint(data: Any, at: Any, end: Any) -> Any:
    """(value, where it ends); −1 for the latter where it is cut, or has more than 64 bits."""
    value = np.uint64(0)
    for place in range(_VARINT_BYTES_MAX):
        if at + place >= end:
            return np.uint64(0), -1
        byte = np.uint64(data[at + place])
        value |= (byte & _LOW) << (_SEVEN * np.uint64(place))
        if byte < _MORE:
            fits = place < _VARINT_BYTES_MAX - 1 or byte <= 1
            return value, at + place + 1 if fits else -1
    return np.uint64(0), -1


@kernel(read(Byte), Int)
def _count_rows(data: Any, tag: Any) -> Any:
    """How many rows with this tag the message begins with; −1 where one is cut."""
    at, rows, size = 0, 0, len(data)
    while at < size and data[at] == tag:
        length, at = _varint(data, at + 1, size)
        if at < 0 or length > np.uint64(size - at):
            return -1
        at += np.int64(length)
        rows += 1
    return rows


@kernel(read(Byte), written(Id), Int, Int, Int)
def _read_rows(data: Any, columns: Any, rows: Any, fields: Any, fixed: Any) -> Any:
    """Fills columns [F · N] from the first rows; where they end, or −1 for what is not known."""
    at, size = 0, len(data)
    for row in range(rows):
        length, at = _varint(data, at + 1, size)
        stop = at + np.int64(length)
        while at < stop:
            number, kind = np.int64(data[at]) >> 3, data[at] & 7
            if data[at] >= _MORE or number == 0 or number >= fields:
                return -1
            if kind == _VARINT and number != fixed:
                value, at = _varint(data, at + 1, stop)
                if at < 0:
                    return -1
                columns[number * rows + row] = value
            elif kind == _FOUR_BYTES and number == fixed:
                at += 5
                if at > stop:
                    return -1
            else:
                return -1
    return at


@helper
def _put(into: Any, at: Any, tag: Any, value: Any) -> Any:
    """A field and where the next begins; nothing for 0, as protobuf has it."""
    if value == 0:
        return at
    into[at] = tag
    at += 1
    while value >= np.uint64(_MORE):
        into[at] = np.uint8(value & _LOW) | np.uint8(_MORE)
        value >>= _SEVEN
        at += 1
    into[at] = np.uint8(value)
    return at + 1


@helper
def _put_actions(into: Any, at: Any, bits: Any) -> Any:
    """The numbers of the set bits, packed, and where the next field begins."""
    into[at] = 4 << 3 | _LENGTH_DELIMITED
    begin = at = at + 2
    for number in range(ACTIONS_MAX):
        if (bits >> np.uint64(number)) & np.uint64(1):
            into[at] = number + 1
            at += 1
    into[begin - 1] = at - begin
    return at


@kernel(written(Byte), Int, read(Id), read(Id), read(Int))
def put_candidates(into: Any, tag: Any, post_ids: Any, author_ids: Any, video_ms: Any) -> Any:
    """Candidates of these ids and durations [N] as fields of this tag; how many bytes."""
    at = 0
    for row in range(len(post_ids)):
        begin = at + 2
        into[at] = tag
        at = _put(into, begin, 1 << 3, post_ids[row])
        at = _put(into, at, 2 << 3, author_ids[row])
        at = _put(into, at, 3 << 3, np.uint64(video_ms[row]))
        into[begin - 1] = at - begin  # below 128: one byte
    return at


@kernel(written(Byte), Int, read(Id), read(Id), read(Id), read(Id), read(Id), read(Id))
def put_events(
    into: Any,
    tag: Any,
    post_ids: Any,
    author_ids: Any,
    acted_at_ms: Any,
    action_bits: Any,
    seconds_bits: Any,
    surfaces: Any,
) -> Any:
    """A viewer's events [N] as fields of this tag; how many bytes. Signed numbers as 64 bits of
    two's complement; ``action_bits``: bit i is action i + 1; ``seconds_bits``: of a float32."""
    at = 0
    for row in range(len(post_ids)):
        begin = at + 2
        into[at] = tag
        at = _put(into, begin, 1 << 3, post_ids[row])
        at = _put(into, at, 2 << 3, author_ids[row])
        at = _put(into, at, 3 << 3, acted_at_ms[row])
        if action_bits[row] != 0:
            at = _put_actions(into, at, action_bits[row])
        if seconds_bits[row] != 0:
            into[at] = 5 << 3 | _FOUR_BYTES
            for place in range(4):
                into[at + 1 + place] = np.uint8(
                    (seconds_bits[row] >> np.uint64(8 * place)) & np.uint64(0xFF)
                )
            at += 5
        at = _put(into, at, 6 << 3, surfaces[row])
        into[begin - 1] = at - begin
    return at
