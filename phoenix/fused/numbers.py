"""Single numbers as the processor sees them, for loops that numba then puts into registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # numba's own compiler
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic

_cgutils_untyped: Any = _cgutils
_HALF, _INT, _FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()


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
    """The nearest bfloat16 of a finite float32, ties to even, as uint16."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = builder.bitcast(values[0], _INT)
        sixteen = ir.Constant(_INT, 16)
        odd = builder.and_(builder.lshr(bits, sixteen), ir.Constant(_INT, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(_INT, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, sixteen), _HALF)

    return types.uint16(types.float32), code


bfloat16: Any = intrinsic(_type_bfloat16)
