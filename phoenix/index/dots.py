"""Dot products of one query with 64 rows of int8 codes at a time.

Codes lie as bytes of code + 128, 64 rows to a block, four dimensions of a row together:

    codes[block, 256 * group + 4 * row + d]     group = 4 dimensions, row < 64, d < 4

so that one 64-byte register holds four dimensions of sixteen rows, and the instruction that
multiplies unsigned by signed bytes and adds them in fours (x86: vpdpbusd) sums sixteen rows at
once, without a sum across a register at the end. A query is two planes of signed bytes, 256 * high
+ low: sixteen bits, for its own rounding would otherwise count as much as that of the rows.

A processor without that instruction runs `plain_dots`, the same integers in plain loops.

G groups, D width: 4 G >= D, the rest is zero in the query.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # numba's own compiler
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

BLOCK_ROWS = 64
GROUP = 4  # dimensions that one instruction sums
CODE_ZERO = 128  # what is added to a code, for the instruction wants it unsigned
_LANES = 16  # int32 in a register
_REGISTERS = BLOCK_ROWS // _LANES
cgutils: Any = _cgutils  # it has no types
_BYTES = ir.IntType(8)
_INT = ir.IntType(32)
_INTS = ir.VectorType(_INT, _LANES)
_FLOATS = ir.VectorType(ir.FloatType(), _LANES)


def has_instruction() -> bool:
    """Whether numba compiles for a processor with AVX-512 VNNI."""
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    return "+avx512vnni" in features.split(",")


def _splat(builder: Any, scalar: Any, kind: ir.VectorType) -> Any:
    """A register full of one value."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_INT, 0))
    lanes = ir.Constant(ir.VectorType(_INT, _LANES), [0] * _LANES)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)


def _load(builder: Any, base: Any, offset: Any, kind: Any) -> Any:
    """A value of `kind` that lies `offset` bytes behind `base`, at any alignment."""
    at = builder.bitcast(builder.gep(base, [offset], source_etype=_BYTES), kind.as_pointer())
    return builder.load(at, typ=kind, align=1)


def _fast_block(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    """The loop over groups: four registers of codes, eight multiply-adds."""
    size = ir.IntType(64)

    def array(place: int) -> Any:
        return context.make_array(signature.args[place])(context, builder, value=values[place])

    def bytes_of(place: int) -> Any:
        return builder.bitcast(array(place).data, _BYTES.as_pointer())

    def times(a: Any, b: Any) -> Any:
        return builder.mul(a, b if isinstance(b, ir.Value) else ir.Constant(size, b))

    block, query_row = values[1], values[5]
    width = cgutils.unpack_tuple(builder, array(2).shape)[1]
    groups = builder.udiv(width, ir.Constant(size, GROUP))
    row_bytes = BLOCK_ROWS * GROUP
    first = builder.gep(bytes_of(0), [times(block, times(groups, row_bytes))], source_etype=_BYTES)
    planes = [
        builder.gep(bytes_of(place), [times(query_row, width)], source_etype=_BYTES)
        for place in (2, 3)
    ]
    starts = [
        _load(builder, bytes_of(4), builder.add(times(query_row, 8), ir.Constant(size, at)), _INT)
        for at in (0, 4)
    ]
    sums = [
        [cgutils.alloca_once_value(builder, _splat(builder, start, _INTS)) for _ in range(4)]
        for start in starts
    ]
    multiply_add = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(_INTS, [_INTS, _INTS, _INTS]),
        "llvm.x86.avx512.vpdpbusd.512",
    )
    with cgutils.for_range(builder, groups) as loop:
        start = times(loop.index, row_bytes)
        queries = [
            _splat(
                builder,
                _load(builder, plane, times(loop.index, GROUP), _INT),
                _INTS,
            )
            for plane in planes
        ]
        for register in range(_REGISTERS):
            offset = builder.add(start, ir.Constant(size, register * 4 * _LANES))
            bytes_ = _load(builder, first, offset, _INTS)
            for plane, query in zip(sums, queries, strict=True):
                slot = plane[register]
                builder.store(builder.call(multiply_add, [builder.load(slot), bytes_, query]), slot)
    target = bytes_of(6)
    scale = _splat(builder, ir.Constant(ir.FloatType(), 256.0), _FLOATS)
    for register in range(_REGISTERS):
        highs, lows = (builder.sitofp(builder.load(plane[register]), _FLOATS) for plane in sums)
        total = builder.fadd(builder.fmul(highs, scale), lows)
        at = builder.gep(target, [ir.Constant(size, register * 4 * _LANES)], source_etype=_BYTES)
        builder.store(total, builder.bitcast(at, _FLOATS.as_pointer()), align=1)
    return context.get_dummy_value()


def _type_dots(  # type: ignore[no-untyped-def]
    typingctx, codes, block, high, low, starts, q, out
):
    """`plain_dots` in the processor's own instruction."""
    signature = types.void(codes, types.int64, high, low, starts, types.int64, out)
    return signature, _fast_block


vnni_dots: Any = intrinsic(_type_dots)


@numba.njit(nogil=True, cache=True)
def plain_dots(
    codes: NDArray[np.uint8],
    block: int,
    high: NDArray[np.int8],
    low: NDArray[np.int8],
    starts: NDArray[np.int32],
    q: int,
    out: NDArray[np.float32],
) -> None:
    """out[r] = sum_d code[r, d] * (256 * high[q, d] + low[q, d]), for the 64 rows of a block.

    `starts` [Q, 2] are -128 * sum(high) and -128 * sum(low): they take back what the codes have
    on top.
    """
    highs = np.full(64, starts[q, 0], np.int32)
    lows = np.full(64, starts[q, 1], np.int32)
    for group in range(high.shape[1] // 4):
        for row in range(64):
            for d in range(4):
                code = np.int32(codes[block, 256 * group + 4 * row + d])
                highs[row] += code * np.int32(high[q, 4 * group + d])
                lows[row] += code * np.int32(low[q, 4 * group + d])
    for row in range(64):
        out[row] = np.float32(highs[row]) * np.float32(256.0) + np.float32(lows[row])


def _fetch(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, value=values[0])
    width, row = cgutils.unpack_tuple(builder, array.strides)[0], values[1]
    prefetch = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [_BYTES.as_pointer(), _INT, _INT, _INT]),
        "llvm.prefetch.p0",
    )
    for_reading, keep, data = (ir.Constant(_INT, value) for value in (0, 3, 1))
    table = builder.bitcast(array.data, _BYTES.as_pointer())
    at = builder.gep(table, [builder.mul(row, width)], source_etype=_BYTES)
    last = builder.gep(
        at, [builder.sub(width, ir.Constant(ir.IntType(64), 1))], source_etype=_BYTES
    )
    for place in (at, last):
        builder.call(prefetch, [place, for_reading, keep, data])
    return context.get_dummy_value()


def _type_fetch(typingctx, table, row):  # type: ignore[no-untyped-def]
    """Asks for the memory of a row of at most 128 bytes, which will be read soon."""
    return types.void(table, types.int64), _fetch


fetch_ahead: Any = intrinsic(_type_fetch)
