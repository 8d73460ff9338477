"""A snapshot's file: the store's arrays as they lie in memory, a table of contents, check sums.

    magic, format version                                   16 bytes
    one section an array, raw                               as the table of contents says
    table of contents: JSON, what the snapshot stands for   its size is in the tail
    tail: size and CRC-32 of the table of contents, magic   24 bytes

A file that was cut off has no tail; every byte is under one of the check sums or compared.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"FYTHUNDR"
FORMAT_VERSION: Final = 2  # 1 knew no marks
HEAD: Final = struct.Struct("<8sQ")
TAIL: Final = struct.Struct("<QQ8s")
CHUNK_BYTES: Final = 4 << 20  # written, read and summed at once: a few milliseconds
CONTENTS_BYTES_MAX: Final = 16 << 20  # thousands of partitions fit; more is damage


class SnapshotError(ValueError):
    """A snapshot that cannot be used. ``kind``: one word for the metric; the text says why."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Section:
    """Where one array lies in the file."""

    name: str
    shape: tuple[int, ...]
    offset: int
    crc32: int


def write(
    file: BinaryIO,
    arrays: Iterable[tuple[str, NDArray[Any]]],
    about: Mapping[str, object],
    keep_going: Callable[[], bool],
) -> None:
    """Writes everything but the flush to disk. Raises OSError, and InterruptedError once
    ``keep_going()`` is False, which is asked between chunks."""
    file.write(HEAD.pack(MAGIC, FORMAT_VERSION))
    sections = []
    for name, array in arrays:
        offset, crc32 = file.tell(), 0
        for chunk in _chunks(array):
            if not keep_going():
                raise InterruptedError("there was no time left to write the snapshot")
            _write_all(file, chunk)
            crc32 = zlib.crc32(chunk, crc32)
        section = {"name": name, "shape": array.shape, "offset": offset, "crc32": crc32}
        sections.append(section)
    contents = json.dumps({**about, "sections": sections}).encode()
    _write_all(file, memoryview(contents))
    _write_all(file, memoryview(TAIL.pack(len(contents), zlib.crc32(contents), MAGIC)))


def read_about(file: BinaryIO) -> tuple[dict[str, Any], list[Section]]:
    """What the snapshot stands for, and its sections. Raises SnapshotError."""
    _check_head(file)
    file_bytes = file.seek(0, os.SEEK_END)
    contents = _read_contents(file, file_bytes)
    try:
        about = json.loads(contents)
        sections = [
            Section(s["name"], tuple(s["shape"]), s["offset"], s["crc32"])
            for s in about.pop("sections")
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError("damaged", f"its table of contents cannot be read: {error!r}") from None
    return about, sections


def read_section(file: BinaryIO, section: Section, target: NDArray[Any]) -> None:
    """Reads one array into ``target`` of its shape. Raises SnapshotError."""
    file.seek(section.offset)
    crc32 = 0
    for chunk in _chunks(target):
        got = file.readinto(chunk)  # type: ignore[attr-defined]
        if got != len(chunk):
            raise SnapshotError("damaged", f"it ends inside its section {section.name}")
        crc32 = zlib.crc32(chunk, crc32)
    if crc32 != section.crc32:
        raise SnapshotError(
            "damaged",
            f"its section {section.name} at byte {section.offset} does not match its CRC-32",
        )


def _check_head(file: BinaryIO) -> None:
    file.seek(0)
    head = file.read(HEAD.size)
    if len(head) < HEAD.size or head[: len(MAGIC)] != MAGIC:
        raise SnapshotError("damaged", "it does not begin as a snapshot of thunder does")
    version = HEAD.unpack(head)[1]
    if version != FORMAT_VERSION:
        raise SnapshotError(
            "format", f"its format is version {version}: this build reads {FORMAT_VERSION} only"
        )


def _read_contents(file: BinaryIO, file_bytes: int) -> bytes:
    tail_at = file_bytes - TAIL.size
    file.seek(max(tail_at, 0))
    tail = file.read(TAIL.size)
    if tail_at < HEAD.size or len(tail) < TAIL.size or tail[-len(MAGIC) :] != MAGIC:
        raise SnapshotError("damaged", f"it was cut off: {file_bytes} bytes without an end")
    size, crc32, _ = TAIL.unpack(tail)
    if not 0 < size <= min(tail_at - HEAD.size, CONTENTS_BYTES_MAX):
        raise SnapshotError("damaged", f"its table of contents claims {size} bytes")
    file.seek(tail_at - size)
    contents = file.read(size)
    if zlib.crc32(contents) != crc32:
        raise SnapshotError("damaged", "its table of contents does not match its CRC-32")
    return contents


def _chunks(array: NDArray[Any]) -> Iterator[memoryview]:
    """The array's bytes in pieces; it is contiguous."""
    flat = array.reshape(-1).view(np.uint8)
    for begin in range(0, flat.size, CHUNK_BYTES):
        yield flat[begin : begin + CHUNK_BYTES].data


def _write_all(file: BinaryIO, data: memoryview) -> None:
    """A raw file may take a part of what it is given, where a disk is nearly full."""
    while data:
        data = data[file.write(data) :]
