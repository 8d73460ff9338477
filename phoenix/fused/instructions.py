"""The processor's bfloat16 instructions (x86: AVX-512 BF16), and which kernels are compiled how.

A product is made of blocks of ROWS x PANEL sums, which stay in registers from the first operand to
the last. Left operands lie row by row; right ones are packed, so that a register holds two rows of
sixteen columns, which is what the instruction multiplies and adds:

    packed[panel, pair, column, 2]    two rows to a pair, PANEL columns to a panel, zeros behind

bfloat16 numbers are held as uint16: numpy and numba have no type for them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numba
from llvmlite import ir  # numba's own compiler
from numba.core import cgutils as _cgutils
from numba.core import config as _config
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from service_kit.kernel_cache import source_stamp, stamped

ROWS: Final = 14  # with two registers of columns: 28 sums, two right operands, one left, of 32
LANES: Final = 16  # float32 in a register
PANEL: Final = 2 * LANES
_KERNEL_FILES: Final = (
    "instructions.py",
    "numbers.py",
    "elementwise.py",
    "steps.py",
    "layers.py",
    "rows.py",
)
_FAST: Final = {"reassoc", "contract", "nsz", "arcp"}  # NaN and infinity keep their meaning
_cgutils_untyped: Any = _cgutils
_numba: Any = _config  # its names are made at run time
_compile: Any = numba.njit  # numba's type stubs do not know _nrt (reference counts)
# Division as the processor does it: a check for zero keeps a loop out of the registers.
_OPTIONS: Final = {"nogil": True, "_nrt": False, "fastmath": _FAST, "error_model": "numpy"}
_BYTE, _INT, _SIZE = (ir.IntType(bits) for bits in (8, 32, 64))
_FLOAT = ir.FloatType()
_INTS = ir.VectorType(_INT, LANES)
_FLOATS = ir.VectorType(_FLOAT, LANES)


def has_instructions() -> bool:
    """Whether numba compiles, and for a processor with AVX-512 BF16."""
    if _numba.DISABLE_JIT:
        return False
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return "+avx512bf16" in features.split(",")


def kernel(function: Callable[..., Any]) -> Any:
    """Compiled at its first call or loaded from the cache, which a change in any of the files
    makes stale; runs without the interpreter's lock."""
    return stamped(_compile(cache=True, **_OPTIONS)(function), _STAMP)


def helper(function: Callable[..., Any]) -> Any:
    """Compiled for kernels only."""
    return _compile(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


_STAMP: Final = source_stamp(Path(__file__).parent, _KERNEL_FILES)


def _block(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """A loop over pairs: two right operands, fourteen left ones, 28 multiply-adds of pairs."""
    left, packed, out = (_Bytes(context, builder, signature, values, at) for at in (0, 3, 6))
    row, column, at, pairs, out_row, out_column = (values[i] for i in (1, 2, 4, 5, 7, 8))
    right = packed.at(at, 2)
    lefts = [left.of(builder.add(row, _size(r)), column, 2) for r in range(ROWS)]
    before, loop = builder.block, builder.append_basic_block("pairs")
    behind = builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    pair = builder.phi(_SIZE)
    pair.add_incoming(_size(0), before)
    sums = [[builder.phi(_FLOATS) for _ in range(2)] for _ in range(ROWS)]
    columns = builder.mul(pair, _size(4 * PANEL))
    rights = [
        _load(builder, right, builder.add(columns, _size(64 * half)), _INTS) for half in range(2)
    ]
    following_panel = builder.mul(pairs, _size(4 * PANEL))
    for half in range(2):
        ahead = builder.add(builder.add(columns, _size(64 * half)), following_panel)
        _prefetch(builder, builder.gep(right, [ahead], source_etype=_BYTE))
    add = _cgutils_untyped.get_or_insert_function(
        builder.module,
        ir.FunctionType(_FLOATS, [_FLOATS, _INTS, _INTS]),
        "llvm.x86.avx512bf16.dpbf16ps.512",
    )
    totals = []
    for start, halves in zip(lefts, sums, strict=True):
        two = _splat(builder, _load(builder, start, builder.mul(pair, _size(4)), _INT))
        totals.append([builder.call(add, [s, two, r]) for s, r in zip(halves, rights, strict=True)])
    following = builder.add(pair, _size(1))
    pair.add_incoming(following, loop)
    for halves, found in zip(sums, totals, strict=True):
        for half, total in zip(halves, found, strict=True):
            half.add_incoming(ir.Constant(_FLOATS, [0.0] * LANES), before)
            half.add_incoming(total, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, pairs), loop, behind)
    builder.position_at_end(behind)
    for r, found in enumerate(totals):
        start = out.of(builder.add(out_row, _size(r)), out_column, 4)
        for half, total in enumerate(found):
            place = builder.gep(start, [_size(64 * half)], source_etype=_BYTE)
            builder.store(total, builder.bitcast(place, _FLOATS.as_pointer()), align=1)
    return context.get_dummy_value()


class _Bytes:
    """An array argument, addressed in bytes."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any, place: int) -> None:
        array = context.make_array(signature.args[place])(context, builder, value=values[place])
        self._builder = builder
        self._data = builder.bitcast(array.data, _BYTE.as_pointer())
        self._row = _cgutils_untyped.unpack_tuple(builder, array.strides)[0]

    def at(self, element: Any, size: int) -> Any:
        offset = self._builder.mul(element, _size(size))
        return self._builder.gep(self._data, [offset], source_etype=_BYTE)

    def of(self, row: Any, column: Any, size: int) -> Any:
        b = self._builder
        offset = b.add(b.mul(row, self._row), b.mul(column, _size(size)))
        return b.gep(self._data, [offset], source_etype=_BYTE)


def _size(value: int) -> Any:
    return ir.Constant(_SIZE, value)


def _prefetch(builder: Any, place: Any) -> None:
    """Asks for a cache line that will be read soon."""
    function = _cgutils_untyped.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _INT, _INT, _INT]),
        "llvm.prefetch.p0",
    )
    for_reading, keep, data = (ir.Constant(_INT, value) for value in (0, 3, 1))
    builder.call(function, [place, for_reading, keep, data])


def _splat(builder: Any, scalar: Any) -> Any:
    """A register full of one value."""
    nothing = ir.Constant(_INTS, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(_INTS, [0] * LANES))


def _load(builder: Any, base: Any, offset: Any, kind: Any) -> Any:
    """A value of `kind` that lies `offset` bytes behind `base`, at any alignment."""
    place = builder.gep(base, [offset], source_etype=_BYTE)
    return builder.load(builder.bitcast(place, kind.as_pointer()), typ=kind, align=1)


def _type_block(  # type: ignore[no-untyped-def]
    typingctx, left, row, column, packed, at, pairs, out, out_row, out_column
):
    """out[ROWS, PANEL] = left[ROWS, 2 · pairs] · packed[2 · pairs, PANEL], from the given places.

    `row`, `column` of `left` [., .] bfloat16; `at` numbers into `packed` (C-contiguous, any axes);
    `out` [., .] float32. Nothing is checked.
    """
    size = types.int64
    signature = types.void(left, size, size, packed, size, size, out, size, size)
    return signature, _block


multiply_block: Any = intrinsic(_type_block)


def _type_take(typingctx, counter):  # type: ignore[no-untyped-def]
    """counter[0], which is one more afterwards; no two threads get the same."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=values[0])
        return builder.atomic_rmw("add", array.data, _size(1), "seq_cst")

    return types.int64(counter), code


take: Any = intrinsic(_type_take)
