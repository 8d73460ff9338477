"""Blocks of ROWS x PANEL sums, which stay in registers from the first operand to the last.

Left operands lie row by row; right ones are packed, so that a register holds what the instruction
multiplies and adds for sixteen columns: 32 bits of each, which are one row of float32, two of
bfloat16 (AVX-512 BF16) or four of bytes (AVX-512 VNNI, for twice as many multiplications):

    packed[panel, step, column, 1, 2 or 4]    PANEL columns to a panel, zeros behind the last

bfloat16 numbers are held as uint16: numpy and numba have no type for them. The instruction for
bytes takes signed ones on the right and unsigned ones on the left: a left number q lies there as
q + LEFT_ZERO, and the sums start at what that adds, taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir  # numba's own compiler
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic

from phoenix.fused.instructions import LANES, PANEL, ROWS

LEFT_ZERO: Final = 128
_STEP_BYTES: Final = 4  # of a row or a column, in one step of the loop
_REGISTER: Final = 4 * LANES  # bytes
_cgutils_untyped: Any = _cgutils
_BYTE, _INT, _SIZE = (ir.IntType(bits) for bits in (8, 32, 64))
_FLOAT = ir.FloatType()
_INTS = ir.VectorType(_INT, LANES)
_FLOATS = ir.VectorType(_FLOAT, LANES)


def _block(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    left, packed, out = (_Bytes(context, builder, signature, values, at) for at in (0, 3, 6))
    row, column, at, pairs, out_row, out_column = (values[i] for i in (1, 2, 4, 5, 7, 8))
    lefts = [left.of(builder.add(row, _size(r)), column, 2) for r in range(ROWS)]
    nothing = [ir.Constant(_FLOATS, [0.0] * LANES)] * 2
    add = _instruction(builder, "llvm.x86.avx512bf16.dpbf16ps.512", _FLOATS)
    totals = _sums(builder, lefts, packed.at(at, 2), pairs, nothing, add)
    _store(builder, totals, out, out_row, out_column)
    return context.get_dummy_value()


def _byte_block(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    arrays = (_Bytes(context, builder, signature, values, at) for at in (0, 2, 3, 6, 7, 8))
    left, left_scales, packed, starts, scales, out = arrays
    row, column, quads, out_row, out_column = (values[i] for i in (1, 4, 5, 9, 10))
    right = packed.at(builder.mul(column, quads), _STEP_BYTES)
    lefts = [left.of(builder.add(row, _size(r)), _size(0), 1) for r in range(ROWS)]
    first = _halves(builder, starts.at(column, 4), _INTS)
    add = _instruction(builder, "llvm.x86.avx512.vpdpbusd.512", _INTS)
    totals = _sums(builder, lefts, right, quads, first, add)
    of_columns = _halves(builder, scales.at(column, 4), _FLOATS)
    for r, found in enumerate(totals):
        place = left_scales.at(builder.add(row, _size(r)), 4)
        of_row = _splat(builder, _load(builder, place, _size(0), _FLOAT), _FLOATS)
        for half in range(2):
            scale = builder.fmul(of_row, of_columns[half])
            found[half] = builder.fmul(builder.sitofp(found[half], _FLOATS), scale)
    _store(builder, totals, out, out_row, out_column)
    return context.get_dummy_value()


def _float_block(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    left, packed, out = (_Bytes(context, builder, signature, values, at) for at in (0, 2, 5))
    row, at, steps, out_column = (values[i] for i in (1, 3, 4, 6))
    lefts = [left.of(builder.add(row, _size(r)), _size(0), 4) for r in range(ROWS)]
    nothing = [ir.Constant(_FLOATS, [0.0] * LANES)] * 2

    fused = _cgutils_untyped.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOATS, [_FLOATS] * 3), "llvm.fma.v16f32"
    )

    def add(total: Any, *operands: Any) -> Any:
        one, right = (builder.bitcast(operand, _FLOATS) for operand in operands)
        return builder.call(fused, [one, right, total])

    totals = _sums(builder, lefts, packed.at(at, 4), steps, nothing, add)
    _store(builder, totals, out, row, out_column)
    return context.get_dummy_value()


def _instruction(builder: Any, name: str, kind: Any) -> Callable[..., Any]:
    """(sum, left, right) → the sum with their products."""
    function = ir.FunctionType(kind, [kind, _INTS, _INTS])
    found = _cgutils_untyped.get_or_insert_function(builder.module, function, name)
    return lambda *operands: builder.call(found, operands)


def _sums(
    builder: Any,
    lefts: list[Any],
    right: Any,
    steps: Any,
    first: list[Any],
    add: Callable[..., Any],
) -> list[list[Any]]:
    """A loop over steps: two right operands, fourteen left ones, 28 sums [ROWS][2] of products."""
    kind = first[0].type
    before, loop = builder.block, builder.append_basic_block("steps")
    behind = builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(_SIZE)
    step.add_incoming(_size(0), before)
    sums = [[builder.phi(kind) for _ in range(2)] for _ in range(ROWS)]
    at = builder.mul(step, _size(_STEP_BYTES * PANEL))
    rights = _halves(builder, builder.gep(right, [at], source_etype=_BYTE), _INTS)
    following_panel = builder.add(at, builder.mul(steps, _size(_STEP_BYTES * PANEL)))
    for half in range(2):
        ahead = builder.add(following_panel, _size(_REGISTER * half))
        _prefetch(builder, builder.gep(right, [ahead], source_etype=_BYTE))
    totals = []
    for start, halves in zip(lefts, sums, strict=True):
        offset = builder.mul(step, _size(_STEP_BYTES))
        one = _splat(builder, _load(builder, start, offset, _INT), _INTS)
        totals.append([add(s, one, r) for s, r in zip(halves, rights, strict=True)])
    following = builder.add(step, _size(1))
    step.add_incoming(following, loop)
    for halves, found in zip(sums, totals, strict=True):
        for half, start, total in zip(halves, first, found, strict=True):
            half.add_incoming(start, before)
            half.add_incoming(total, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, steps), loop, behind)
    builder.position_at_end(behind)
    return totals


def _store(builder: Any, totals: Any, out: _Bytes, row: Any, column: Any) -> None:
    for r, found in enumerate(totals):
        start = out.of(builder.add(row, _size(r)), column, 4)
        for half, total in enumerate(found):
            place = builder.gep(start, [_size(_REGISTER * half)], source_etype=_BYTE)
            builder.store(total, builder.bitcast(place, _FLOATS.as_pointer()), align=1)


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


def _splat(builder: Any, scalar: Any, kind: Any) -> Any:
    """A register full of one value."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(_INTS, [0] * LANES))


def _halves(builder: Any, base: Any, kind: Any) -> list[Any]:
    """Two registers, one behind the other."""
    return [_load(builder, base, _size(_REGISTER * half), kind) for half in range(2)]


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


def _type_byte_block(  # type: ignore[no-untyped-def]
    typingctx,
    left,
    row,
    left_scales,
    packed,
    column,
    quads,
    starts,
    scales,
    out,
    out_row,
    out_column,
):
    """The same of bytes: (left − LEFT_ZERO)[ROWS, 4 · quads] · packed, times their scales.

    `left` [., .] uint8 from its first column on, `left_scales` [.] of its rows; `packed` int8 from
    `column` on, counted through all panels, as are `scales` and what sums start at, `starts` int32
    (C-contiguous, any axes).
    """
    size = types.int64
    arguments = (left, size, left_scales, packed, size, size, starts, scales, out, size, size)
    return types.void(*arguments), _byte_block


multiply_byte_block: Any = intrinsic(_type_byte_block)


def _type_float_block(  # type: ignore[no-untyped-def]
    typingctx, left, row, packed, at, steps, out, out_column
):
    """The same of float32, a row and a column to a step; rows of `out` are those of `left`."""
    size = types.int64
    return types.void(left, size, packed, size, size, out, size), _float_block


multiply_float_block: Any = intrinsic(_type_float_block)


def _type_ask_for(typingctx, table, row, column):  # type: ignore[no-untyped-def]
    """Asks for the cache line of a number of `table` [., .] float32: nothing is read or checked."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _Bytes(context, builder, signature, values, 0).of(values[1], values[2], 4)
        _prefetch(builder, place)
        return context.get_dummy_value()

    return types.void(table, types.int64, types.int64), code


ask_for: Any = intrinsic(_type_ask_for)
