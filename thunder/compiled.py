"""How thunder's kernels are compiled: cached on disk, without the interpreter lock.

Without reference counts too: kernels only touch arrays that their caller holds and make none, and
the atomic counting of twenty arrays a call took three quarters of a query's time (2026-11-21,
200,000 posts, 1,000 follows: 4.7 ms with, 1.4 ms without). A kernel must therefore never return or
allocate an array.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from service_kit.kernel_cache import source_stamp, stamped

COMPILE: Final[Any] = njit  # numba's type stubs do not know _nrt (reference counts)
BUILD: Final[Any] = cgutils  # has no types
KERNEL_FILES: Final = (
    "compiled.py",
    "layout.py",
    "id_map.py",
    "segments.py",
    "write_kernels.py",
    "query_scratch.py",
    "selection.py",
    "query_begin.py",
    "query_rules.py",
    "query_kernels.py",
    "answer_kernels.py",
    "event_kernels.py",
    "post_kernels.py",
    "feed_kernels.py",
)


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles ``function`` at its first call or loads it from the cache, which a change in any
    kernel file makes stale."""
    return stamped(COMPILE(cache=True, nogil=True, _nrt=False)(function), SOURCE_STAMP)


def helper(function: Callable[..., Any]) -> Any:
    """Compiles ``function`` into other kernels only: no entry from Python, which for a store of
    twenty arrays is longer than the function, and no cache file of its own.

    Always in place, never as a call: each would push two hundred numbers, the shapes and strides
    of all arrays (2026-11-22: two thousand walks of a query of 1,000 follows, 100 µs of 630)."""
    compiled = COMPILE(
        nogil=True,
        _nrt=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        forceinline=True,
    )
    return compiled(function)


def _prefetch(context: Any, array: Any, index: Any) -> Any:
    """``prefetch(array, index)`` asks for the cache line of an element before it is needed. A hint:
    it changes nothing, and the index may be anything."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        array = context.make_array(array_type)(context, builder, arguments[0])
        element = BUILD.get_item_pointer(
            context, builder, array_type, array, [arguments[1]], wraparound=False
        )
        address = builder.bitcast(element, ir.IntType(8).as_pointer())
        int32 = ir.IntType(32)
        declared = ir.FunctionType(ir.VoidType(), [address.type, int32, int32, int32])
        function = BUILD.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0")
        for_reading, keep_close, data = int32(0), int32(3), int32(1)
        builder.call(function, [address, for_reading, keep_close, data])
        return context.get_dummy_value()

    return types.void(array, index), code


def _no_prefetch(array: Any, index: Any) -> None:
    """In plain Python (NUMBA_DISABLE_JIT) there is nothing to hint."""


prefetch: Final[Any] = (
    _no_prefetch if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0" else intrinsic(_prefetch)
)


SOURCE_STAMP: Final = source_stamp(Path(__file__).parent, KERNEL_FILES)
