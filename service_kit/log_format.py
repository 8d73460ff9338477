"""Bytes of the embedded log: frames of records inside append-only segment files.

    segment  = <base offset, 20 digits>.log = frame*
    frame    = magic 4s, body_bytes u32, record_count u32, base_offset u64, body_crc u32,
               header_crc u32 (of the 24 bytes before), body
    body     = record*;  record = timestamp_ms i64, key_bytes u32, value_bytes u32, key, value

Little endian. One frame is one ``write``. A frame cut short by a crash is *torn*: readers wait,
the next writer cuts it off. Anything else that does not check is *corrupt* and is an error.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service_kit.event_log import Entry, Record

FRAME_MAGIC = b"FYL1"
HEADER = struct.Struct("<4sIIQI")
HEADER_CRC = struct.Struct("<I")
HEADER_BYTES = HEADER.size + HEADER_CRC.size
RECORD_HEADER = struct.Struct("<qII")
FRAME_RECORDS_MAX = 4096  # a reader that stops inside a frame decodes at most this many twice
FRAME_BODY_BYTES_MAX = 4 << 20  # one frame fits one read
SEGMENT_BYTES_MAX = 64 << 20  # a file that a laptop copies in a blink
SEGMENT_SUFFIX = ".log"


class LogCorruptedError(RuntimeError):
    """Bytes of the log that are neither a valid frame nor a torn tail."""

    def __init__(self, path: Path, byte: int, found: str, resume_offset: int | None = None) -> None:
        """``resume_offset`` is the first offset after the damage, where the frame still tells."""
        skip = (
            f"skip the damage with seek(topic, partition, {resume_offset})"
            if resume_offset is not None
            else "move this file away and seek to the base offset in the next file's name"
        )
        super().__init__(
            f"{path}, byte {byte}: {found}. Restore the file from a copy, or {skip}; "
            "consumers are idempotent, so replaying from an earlier offset is safe"
        )
        self.path = path
        self.byte = byte
        self.resume_offset = resume_offset


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Where a frame lies inside its segment and which offsets it holds."""

    byte: int
    body_bytes: int
    record_count: int
    base_offset: int
    body_crc: int

    @property
    def end_byte(self) -> int:
        return self.byte + HEADER_BYTES + self.body_bytes

    @property
    def end_offset(self) -> int:
        return self.base_offset + self.record_count


def segment_name(base_offset: int) -> str:
    """File name of the segment whose first record has ``base_offset``."""
    return f"{base_offset:020d}{SEGMENT_SUFFIX}"


def encode_frames(base_offset: int, entries: Sequence[Entry]) -> tuple[bytes, int]:
    """Frames for ``entries`` from ``base_offset`` on, and the offset after the last of them."""
    frames: list[bytes] = []
    parts: list[bytes] = []
    count = size = 0
    for key, value, timestamp_ms in entries:
        record_bytes = RECORD_HEADER.size + len(key) + len(value)
        if count == FRAME_RECORDS_MAX or size + record_bytes > FRAME_BODY_BYTES_MAX:
            frames.append(_frame(base_offset, count, b"".join(parts)))
            base_offset, count, size = base_offset + count, 0, 0
            parts.clear()
        parts += (RECORD_HEADER.pack(timestamp_ms, len(key), len(value)), key, value)
        count += 1
        size += record_bytes
    if count:
        frames.append(_frame(base_offset, count, b"".join(parts)))
    return b"".join(frames), base_offset + count


def _frame(base_offset: int, count: int, body: bytes) -> bytes:
    header = HEADER.pack(FRAME_MAGIC, len(body), count, base_offset, zlib.crc32(body))
    return header + HEADER_CRC.pack(zlib.crc32(header)) + body


def parse_header(path: Path, buffer: bytes, at: int, byte: int) -> FrameHeader | None:
    """The header at ``buffer[at]``, which is byte ``byte`` of ``path``; None where it is torn.

    A tail of zeros counts as torn: file systems leave one after a power cut.
    """
    header = buffer[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES:
        return None
    magic, body_bytes, count, base_offset, body_crc = HEADER.unpack_from(header)
    (crc,) = HEADER_CRC.unpack_from(header, HEADER.size)
    if magic == FRAME_MAGIC and crc == zlib.crc32(header[: HEADER.size]):
        return FrameHeader(byte, body_bytes, count, base_offset, body_crc)
    if not any(header):
        return None
    raise LogCorruptedError(path, byte, "the frame header does not match its checksum")


def decode_frame(
    path: Path, header: FrameHeader, body: bytes, topic: str, partition: int
) -> list[Record]:
    """Records of one frame; raises LogCorruptedError naming the file and the frame's byte."""
    if zlib.crc32(body) != header.body_crc:
        found = f"records {header.base_offset} to {header.end_offset - 1} do not match their CRC-32"
        raise LogCorruptedError(path, header.byte, found, header.end_offset)
    records: list[Record] = []
    add, unpack = records.append, RECORD_HEADER.unpack_from
    at, head = 0, RECORD_HEADER.size
    for offset in range(header.base_offset, header.end_offset):
        timestamp_ms, key_bytes, value_bytes = unpack(body, at)
        key_end = at + head + key_bytes
        value_end = key_end + value_bytes
        add(
            Record(
                topic,
                partition,
                offset,
                timestamp_ms,
                body[at + head : key_end],
                body[key_end:value_end],
            )
        )
        at = value_end
    return records
