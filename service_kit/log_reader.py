"""Reading one partition of the embedded log: pure functions from a cursor to records.

A cursor names the next offset and where its frame lies; a read returns a new one and moves
nothing, so a cancelled read loses nothing.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

from service_kit.event_log import Record
from service_kit.log_format import (
    FRAME_BODY_BYTES_MAX,
    HEADER_BYTES,
    SEGMENT_SUFFIX,
    FrameHeader,
    LogCorruptedError,
    decode_frame,
    parse_header,
)

READ_BYTES = FRAME_BODY_BYTES_MAX + HEADER_BYTES  # any single frame fits one read
READ_BYTES_MIN = 1 << 16
RECORD_BYTES_GUESS = 256  # sizes the first read; a wrong guess costs a second one
REREADS = 3  # a writer may cut a torn tail and append between our two looks at the same bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """Next offset to read; its frame starts at or after ``byte`` of the segment ``base``."""

    offset: int
    base: int = -1  # −1: find the segment by offset
    byte: int = 0
    rest: tuple[Record, ...] = ()  # decoded already, from ``offset`` on


def segments(partition_dir: Path) -> list[int]:
    """Base offsets of the partition's segments, ascending."""
    names = os.listdir(partition_dir)  # noqa: PTH208 - names alone, a third of the cost
    return sorted(int(n.removesuffix(SEGMENT_SUFFIX)) for n in names if n.endswith(SEGMENT_SUFFIX))


def segment_path(partition_dir: Path, base: int) -> Path:
    return partition_dir / f"{base:020d}{SEGMENT_SUFFIX}"


def has_more(partition_dir: Path, cursor: Cursor) -> bool:
    """Cheap look (one ``stat``) whether a read could return something new."""
    if cursor.rest or cursor.base < 0:
        return True
    size = segment_path(partition_dir, cursor.base).stat().st_size
    return size > cursor.byte or cursor.base != segments(partition_dir)[-1]


def read_records(
    partition_dir: Path, topic: str, partition: int, cursor: Cursor, max_records: int
) -> tuple[list[Record], Cursor]:
    """Up to ``max_records`` from the cursor on, and the cursor after them.

    Raises LogCorruptedError. An offset below the oldest segment starts there.
    """
    if cursor.rest:
        return _take(list(cursor.rest), cursor, max_records)
    cursor = _located(partition_dir, cursor)
    while cursor.base >= 0:
        records, cursor = _read_segment(partition_dir, topic, partition, cursor, max_records)
        if records:
            return _take(records, cursor, max_records)
        following = _next_segment(partition_dir, cursor)
        if following is None:
            break
        cursor = following
    return [], cursor


def _take(records: list[Record], cursor: Cursor, count: int) -> tuple[list[Record], Cursor]:
    taken, rest = records[:count], tuple(records[count:])
    return taken, Cursor(taken[-1].offset + 1, cursor.base, cursor.byte, rest)


def _located(partition_dir: Path, cursor: Cursor) -> Cursor:
    if cursor.base >= 0:
        return cursor
    bases = segments(partition_dir)
    if not bases:
        return cursor
    index = max(0, bisect_right(bases, cursor.offset) - 1)
    return Cursor(max(cursor.offset, bases[0]), bases[index], 0)


def _next_segment(partition_dir: Path, cursor: Cursor) -> Cursor | None:
    """The segment after a finished one; a torn tail that was rolled over is an error."""
    later = [base for base in segments(partition_dir) if base > cursor.base]
    if not later:
        return None
    path = segment_path(partition_dir, cursor.base)
    if path.stat().st_size > cursor.byte:
        headers = frame_headers(path, cursor.byte)
        if headers:
            return cursor  # a frame was completed since we looked; read on
        raise LogCorruptedError(path, cursor.byte, "the file ends inside a frame", later[0])
    return Cursor(max(cursor.offset, later[0]), later[0], 0)


def _read_segment(
    partition_dir: Path, topic: str, partition: int, cursor: Cursor, max_records: int
) -> tuple[list[Record], Cursor]:
    path = segment_path(partition_dir, cursor.base)
    records: list[Record] = []
    byte = cursor.byte
    read_bytes = min(READ_BYTES, max(READ_BYTES_MIN, max_records * RECORD_BYTES_GUESS))
    with path.open("rb", buffering=0) as file:
        while len(records) < max_records:
            buffer = os.pread(file.fileno(), read_bytes, byte)
            wanted = max_records - len(records)
            frames = _Frames(path, file.fileno(), topic, partition, cursor.offset, wanted)
            end_byte = frames.decode(buffer, byte)
            if end_byte == byte and (len(buffer) < read_bytes or read_bytes == READ_BYTES):
                break
            if end_byte == byte:
                read_bytes = READ_BYTES
            records += frames.records
            byte = end_byte
    return records, Cursor(cursor.offset, cursor.base, byte)


class _Frames:
    """Decodes whole frames out of a buffer until ``wanted`` records are there."""

    def __init__(
        self, path: Path, fd: int, topic: str, partition: int, offset: int, wanted: int
    ) -> None:
        self.records: list[Record] = []
        self._path = path
        self._fd = fd
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._wanted = wanted

    def decode(self, buffer: bytes, byte: int) -> int:
        """Returns the byte after the last frame taken; ``buffer`` starts at ``byte``."""
        at = byte
        while len(self.records) < self._wanted:
            header = _header(self._path, self._fd, buffer, at - byte, at)
            if header is None or header.end_byte - byte > len(buffer):
                break
            if header.end_offset > self._offset:
                body = buffer[at - byte + HEADER_BYTES : header.end_byte - byte]
                self.records += self._decode_frame(header, body)
            at = header.end_byte
        return at

    def _decode_frame(self, header: FrameHeader, body: bytes) -> list[Record]:
        for look in range(REREADS):
            try:
                records = decode_frame(self._path, header, body, self._topic, self._partition)
                return records[max(0, self._offset - header.base_offset) :]
            except LogCorruptedError:
                if look == REREADS - 1:
                    raise
                body = os.pread(self._fd, header.body_bytes, header.byte + HEADER_BYTES)
        raise AssertionError("unreachable: the last look returns or raises")


def _header(path: Path, fd: int, buffer: bytes, at: int, byte: int) -> FrameHeader | None:
    for look in range(REREADS):
        try:
            return parse_header(path, buffer, at, byte)
        except LogCorruptedError:  # may be half a torn tail and half its successor: look again
            if look == REREADS - 1:
                raise
            buffer, at = os.pread(fd, HEADER_BYTES, byte), 0
    raise AssertionError("unreachable: the last look returns or raises")


def frame_headers(path: Path, from_byte: int = 0) -> list[FrameHeader]:
    """Headers of the whole frames from ``from_byte`` on; stops at a torn tail."""
    headers: list[FrameHeader] = []
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        size = os.fstat(fd).st_size
        byte = from_byte
        while byte < size:
            header = _header(path, fd, os.pread(fd, HEADER_BYTES, byte), 0, byte)
            if header is None or header.end_byte > size:
                break
            headers.append(header)
            byte = header.end_byte
    return headers


class EndTracker:
    """Follows the end of one partition; each look costs only what was appended since."""

    def __init__(self, partition_dir: Path) -> None:
        self._dir = partition_dir
        self.base = -1
        self.byte = 0
        self.offset = 0

    def look(self) -> int:
        """Offset after the newest whole record; 0 for an empty partition."""
        bases = segments(self._dir)
        if not bases:
            return 0
        if bases[-1] != self.base:
            self.base, self.byte, self.offset = bases[-1], 0, bases[-1]
        path = segment_path(self._dir, self.base)
        if path.stat().st_size > self.byte:
            for header in frame_headers(path, self.byte):
                self.byte, self.offset = header.end_byte, header.end_offset
        return self.offset
