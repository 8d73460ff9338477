"""Which of the processor's instructions there are (x86: AVX-512 BF16 and VNNI), and which kernels
are compiled how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba
from llvmlite import ir  # numba's own compiler
from numba.core import config as _config
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from service_kit.kernel_cache import source_stamp, stamped

ROWS: Final = 14  # with two registers of columns: 28 sums, two right operands, one left, of 32
LANES: Final = 16  # float32 in a register
PANEL: Final = 2 * LANES
KERNEL_FILES: Final = (
    "instructions.py",
    "blocks.py",
    "numbers.py",
    "elementwise.py",
    "operands.py",
    "steps.py",
    "layers.py",
    "ends.py",
    "facts.py",
    "events.py",
    "answers.py",
    "whole.py",
    "rows.py",
    "../ranker.py",  # constants of the model that kernels hold
)
_FAST: Final = {"reassoc", "contract", "nsz", "arcp"}  # NaN and infinity keep their meaning
_numba: Any = _config  # its names are made at run time
_compile: Any = numba.njit  # numba's type stubs do not know _nrt (reference counts)
# Division as the processor does it: a check for zero keeps a loop out of the registers.
_OPTIONS: Final = {"nogil": True, "_nrt": False, "fastmath": _FAST, "error_model": "numpy"}


def has_instructions() -> bool:
    """Whether numba compiles, and for a processor that multiplies bfloat16 (AVX-512 BF16)."""
    return _compiles_with("+avx512bf16")


def has_byte_instructions() -> bool:
    """The same of bytes (AVX-512 VNNI)."""
    return _compiles_with("+avx512vnni")


def _compiles_with(feature: str) -> bool:
    if _numba.DISABLE_JIT:
        return False
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return feature in features.split(",")


def kernel(function: Callable[..., Any]) -> Any:
    """Compiled at its first call or loaded from the cache, which a change in any of the files
    makes stale; runs without the interpreter's lock."""
    return stamped(_compile(cache=True, **_OPTIONS)(function), _STAMP)


def helper(function: Callable[..., Any]) -> Any:
    """Compiled for kernels only."""
    return _compile(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


_STAMP: Final = source_stamp(Path(__file__).parent, KERNEL_FILES)


def _type_take(typingctx, counter):  # type: ignore[no-untyped-def]
    """counter[0], which is one more afterwards; no two threads get the same."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=values[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counter), code


take: Any = intrinsic(_type_take)
