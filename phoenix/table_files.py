"""Tables of a checkpoint that are files of their own, mapped rather than read.

    <version>/tables/<name>.rows, <name>.accumulators      raw float32
                     tables.json                           shapes, digests

Training writes them (`phoenix.host_tables`); whoever loads the checkpoint maps the rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TABLES_DIRECTORY, INDEX_FILE = "tables", "tables.json"
BLOCK_BYTES = 1 << 14  # copied and hashed at a time; a lone row costs so much of a checkpoint


def read_index(version: Path) -> dict[str, Any]:
    """The host tables of a version, by name; empty: it has none."""
    path = version / TABLES_DIRECTORY / INDEX_FILE
    if not path.is_file():
        return {}
    index: dict[str, Any] = json.loads(path.read_text())
    return index


def map_rows(version: Path) -> dict[str, NDArray[np.float32]]:
    """Tables [R, E] of a version, mapped and read when touched; digests are not computed.

    ValueError: a file is missing or of another length.
    """
    tables: dict[str, NDArray[np.float32]] = {}
    for name, entry in read_index(version).items():
        path, shape = version / TABLES_DIRECTORY / f"{name}.rows", tuple(entry["shape"])
        expected = 4 * int(np.prod(shape))
        if not path.is_file() or path.stat().st_size != expected:
            raise ValueError(f"{path} is missing or not {expected} bytes long")
        tables[name] = np.memmap(path, np.float32, "r", shape=shape)
    return tables


def copy_sparse(source: Path, target: Path) -> str:
    """Copy what is no hole; the SHA-256 of (position, bytes) of every block that is not zeros.

    The target is written anew and flushed to disk.
    """
    digest, size = hashlib.sha256(), source.stat().st_size
    with source.open("rb") as read, target.open("wb") as write:
        write.truncate(size)
        for begin, end in _extents(read.fileno(), size):
            for at in range(begin - begin % BLOCK_BYTES, end, BLOCK_BYTES):
                block = os.pread(read.fileno(), min(BLOCK_BYTES, size - at), at)
                if block.count(0) == len(block):
                    continue
                digest.update(at.to_bytes(8, "little") + block)
                os.pwrite(write.fileno(), block, at)
        write.flush()
        os.fsync(write.fileno())
    return digest.hexdigest()


def _extents(descriptor: int, size: int) -> list[tuple[int, int]]:
    """Where a file has data, whole blocks that do not overlap; a file system may say everywhere."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            begin = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:  # ENXIO: no data from here to the end
            break
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        begin -= begin % BLOCK_BYTES
        at = min(-(-end // BLOCK_BYTES) * BLOCK_BYTES, size)
        found.append((begin, at))
    return found
