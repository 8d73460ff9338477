"""How home_mixer's kernels are compiled: cached on disk, without the interpreter lock.

A kernel states its types and is compiled, or loaded from the cache (some milliseconds), where it
is defined: no request ever waits for the compiler. Read-only arrays of any stride are taken, so a
column needs no copy; what a kernel writes is contiguous and its caller's. Kernels make no arrays
and count no references to them: ``_nrt`` is off.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from numba import njit, types

from service_kit.kernel_cache import source_stamp, stamped

_COMPILE: Final[Any] = njit  # numba's type stubs do not know _nrt (reference counts)
KERNEL_FILES: Final = (
    "compiled.py",
    "id_kernels.py",
    "clients/wire_kernels.py",
    "scorers/author_diversity_scorer.py",
)
SOURCE_STAMP: Final = source_stamp(Path(__file__).parent, KERNEL_FILES)

Byte: Final[Any] = types.uint8
Int: Final[Any] = types.int64
Flag: Final[Any] = types.boolean
Id: Final[Any] = types.uint64
Row: Final[Any] = types.int32


def read(dtype: Any) -> Any:
    """The type of an array that a kernel reads: [N], any stride, any alignment."""
    return types.Array(dtype, 1, "A", readonly=True, aligned=False)


def written(dtype: Any) -> Any:
    """The type of an array that a kernel writes: [N], contiguous."""
    return types.Array(dtype, 1, "C")


def kernel(*arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiles a function for arguments of these types; TypeError when it is called with others."""

    def compiled(function: Callable[..., Any]) -> Any:
        made = stamped(_COMPILE(cache=True, nogil=True, _nrt=False)(function), SOURCE_STAMP)
        if hasattr(made, "compile"):  # not where NUMBA_DISABLE_JIT asks for plain Python
            made.compile(arguments)
            made.disable_compile()
        return made

    return compiled


def helper(function: Callable[..., Any]) -> Any:
    """For other kernels' use: compiled into them."""
    return _COMPILE(nogil=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)(
        function
    )
