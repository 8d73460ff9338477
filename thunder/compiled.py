"""How thunder's kernels are compiled: cached on disk, without the interpreter lock.

Without reference counts too: kernels only touch arrays that their caller holds and make none, and
the atomic counting of twenty arrays a call took three quarters of a query's time (2026-11-21,
200,000 posts, 1,000 follows: 4.7 ms with, 1.4 ms without). A kernel must therefore never return or
allocate an array.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from numba import njit

COMPILE: Final[Any] = njit  # numba's type stubs do not know _nrt (reference counts)
KERNEL_FILES: Final = (
    "compiled.py",
    "layout.py",
    "id_map.py",
    "segments.py",
    "write_kernels.py",
    "query_kernels.py",
    "answer_kernels.py",
)


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles ``function`` at its first call or loads it from the cache.

    numba's own stamp looks at one file only, but kernels bake in constants and helpers of the
    others; here a change in any of them makes every cached kernel stale.
    """
    compiled = COMPILE(cache=True, nogil=True, _nrt=False)(function)
    if hasattr(compiled, "_cache"):  # not where NUMBA_DISABLE_JIT asks for plain Python
        compiled._cache._cache_file._source_stamp = SOURCE_STAMP
    return compiled


def helper(function: Callable[..., Any]) -> Any:
    """Compiles ``function`` for other kernels only: no entry from Python, which for a store of
    twenty arrays is longer than the function, and no cache file of its own."""
    compiled = COMPILE(nogil=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    return compiled(function)


def source_stamp(directory: Path) -> str:
    """Digest of all kernel files."""
    digest = hashlib.sha256()
    for name in KERNEL_FILES:
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()


SOURCE_STAMP: Final = source_stamp(Path(__file__).parent)
