"""Single numbers as the processor sees them, for loops that numba then puts into registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # numba's own compiler
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic

_cgutils_untyped: Any = _cgutils
_BYTE, _HALF, _INT, _FLOAT = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.FloatType()


class _Brief(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat16, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"


def _type_nearest(typingctx, x):  # type: ignore[no-untyped-def]
    """The nearest whole float32, ties to even."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rint = _cgutils_untyped.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOAT, [_FLOAT]), "llvm.rint.f32"
        )
        return builder.call(rint, [values[0]])

    return types.float32(types.float32), code


nearest: Any = intrinsic(_type_nearest)


def _type_power_of_two(typingctx, n):  # type: ignore[no-untyped-def]
    """2^n of a whole float32 n in −126 … 127."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        exponent = builder.add(builder.fptosi(values[0], _INT), ir.Constant(_INT, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(_INT, 23)), _FLOAT)

    return types.float32(types.float32), code


power_of_two: Any = intrinsic(_type_power_of_two)


def _type_widened(typingctx, x):  # type: ignore[no-untyped-def]
    """The float32 of a bfloat16 number."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = builder.shl(builder.zext(values[0], _INT), ir.Constant(_INT, 16))
        return builder.bitcast(bits, _FLOAT)

    return types.float32(types.uint16), code


widened: Any = intrinsic(_type_widened)


def _type_bfloat16(typingctx, x):  # type: ignore[no-untyped-def]
    """The nearest bfloat16 of a float32, ties to even, as uint16; subnormal ones are zero."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _brief(builder, values[0])

    return types.uint16(types.float32), code


def _brief(builder: Any, value: Any) -> Any:
    """One instruction for sixteen of them, where the processor has it."""
    return builder.bitcast(builder.fptrunc(value, _Brief()), _HALF)


bfloat16: Any = intrinsic(_type_bfloat16)


def _type_as_kept(typingctx, x, array):  # type: ignore[no-untyped-def]
    """A float32 as `array` holds it: itself, or the nearest bfloat16."""
    is_brief = array.dtype == types.uint16

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _brief(builder, values[0]) if is_brief else values[0]

    return (types.uint16 if is_brief else types.float32)(types.float32, array), code


as_kept: Any = intrinsic(_type_as_kept)


def _type_magnitude(typingctx, x):  # type: ignore[no-untyped-def]
    """The bits of |x|, which are in the order of the numbers, NaN the largest: a maximum of whole
    numbers is taken in registers, one that minds NaN is not."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = builder.bitcast(values[0], _INT)
        return builder.and_(bits, ir.Constant(_INT, 0x7FFF_FFFF))

    return types.int32(types.float32), code


magnitude: Any = intrinsic(_type_magnitude)


def _type_of_bits(typingctx, bits):  # type: ignore[no-untyped-def]
    """The float32 of such bits."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], _FLOAT)

    return types.float32(types.int32), code


of_bits: Any = intrinsic(_type_of_bits)


def _type_low_byte(typingctx, x):  # type: ignore[no-untyped-def]
    """The last eight bits of a float32."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.trunc(builder.bitcast(values[0], _INT), _BYTE)

    return types.uint8(types.float32), code


low_byte: Any = intrinsic(_type_low_byte)
