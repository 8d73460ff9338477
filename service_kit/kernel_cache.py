"""One stamp for all kernels that are compiled from several files.

numba's own stamp of a cached kernel looks at its file alone, but kernels bake in constants and
helpers of the others: with this one a change in any of the files makes every cached kernel stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def source_stamp(directory: Path, names: Iterable[str]) -> str:
    """Digest of these files of a directory."""
    digest = hashlib.sha256()
    for name in names:
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()


def stamped(compiled: Any, stamp: str) -> Any:
    """A function that numba caches, whose cache is stale where the stamp is another."""
    if hasattr(compiled, "_cache"):  # not where NUMBA_DISABLE_JIT asks for plain Python
        file = compiled._cache._cache_file
        file._source_stamp = stamp
        # Read before the rest, which a release may have written whose types are gone from this one.
        file._version = f"{file._version} {stamp}"
    return compiled
