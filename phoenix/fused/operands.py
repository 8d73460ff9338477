"""The operands of products in bfloat16 and in bytes: one name for both, compiled by their types.

bfloat16 rows are [R, N] arrays. Bytes have a scale a row on the left and a scale a column on the
right, each the largest of its numbers over BYTE_MAX: x ≈ scale · q for whole q in ±BYTE_MAX.

Glossary as in `phoenix.fused.steps`; N columns of an operand.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import overload as _overload
from numpy.typing import NDArray

from phoenix.fused.blocks import LEFT_ZERO, multiply_block, multiply_byte_block
from phoenix.fused.elementwise import inverse_rms, normed_halves
from phoenix.fused.instructions import PANEL, ROWS, helper
from phoenix.fused.numbers import low_byte, magnitude, of_bits

BYTE_MAX: Final = 127
_F = np.float32
_ONE, _BYTE_MAX = _F(1), _F(BYTE_MAX)
# Added to a number below 2^22, it leaves the nearest whole one in the last bits.
_ROUNDING = _F(1.5 * 2**23 + LEFT_ZERO)
_LEAST_BITS = np.int32(0x0DA24260)  # 1e-30, of a row's largest number: zeros have a scale too
_overload_untyped: Any = _overload


class Bytes(NamedTuple):
    """A right operand of all layers, packed: see `phoenix.fused.blocks`."""

    numbers: NDArray[np.int8]  # [L, inner · columns]
    starts: NDArray[np.int32]  # [L, columns]: −LEFT_ZERO times the sum of the column's numbers
    scales: NDArray[np.float32]  # [L, columns]


class ByteRows(NamedTuple):
    """A left operand: x ≈ scale · (number − LEFT_ZERO)."""

    numbers: NDArray[np.uint8]  # [R, N]
    scales: NDArray[np.float32]  # [R]


def normed(x: Any, scale: Any, layer: int, which: int, out: Any, count: int) -> None:
    """Rows of x [R, N] divided by their root mean square, times the scale → `out`."""


@_overload_untyped(normed)
def _normed(x, scale, layer, which, out, count):  # type: ignore[no-untyped-def]
    if isinstance(out, types.Array):
        return lambda x, scale, layer, which, out, count: normed_halves(
            x, scale, layer, which, out, count
        )
    return lambda x, scale, layer, which, out, count: _normed_bytes(
        x, scale, layer, which, out, count
    )


def completed(parts: Any, width: int, out: Any, count: int) -> None:
    """The first `width` columns of `parts` [R, N] → `out`; in bfloat16 both are the same array."""


@_overload_untyped(completed)
def _completed(parts, width, out, count):  # type: ignore[no-untyped-def]
    if isinstance(out, types.Array):
        return lambda parts, width, out, count: None
    return lambda parts, width, out, count: _bytes_of(parts, width, out, count)


def multiply(
    left: Any, right: Any, layer: int, panel: int, inner: int, many: int, out: Any, count: int
) -> None:
    """left[:count, :inner] · `many` panels of a layer's `right` from `panel` on → `out` [R, N]."""


@_overload_untyped(multiply)
def _multiply(left, right, layer, panel, inner, many, out, count):  # type: ignore[no-untyped-def]
    if isinstance(left, types.Array):
        return lambda left, right, layer, panel, inner, many, out, count: multiply_halves(
            left, 0, right, layer * right.shape[1] + panel * pairs(inner) * 2 * PANEL,
            inner, many, out, count,
        )  # fmt: skip
    return lambda left, right, layer, panel, inner, many, out, count: _multiply_bytes(
        left, right, layer * right.scales.shape[1] + panel * PANEL, inner, many, out, count
    )


@helper
def multiply_halves(
    left: Any, column: int, packed: Any, at: int, inner: int, many: int, out: Any, count: int
) -> None:
    """left[:count, column : column + inner] · `many` panels of `packed` from number `at` on."""
    depth = pairs(inner)
    for panel in range(many):
        for row in range(0, count, ROWS):
            multiply_block(left, row, column, packed, at, depth, out, row, panel * PANEL)
        at += depth * 2 * PANEL


@helper
def _multiply_bytes(
    left: ByteRows, right: Bytes, column: int, inner: int, many: int, out: Any, count: int
) -> None:
    """`column` counts through all panels of all layers."""
    for panel in range(many):
        for row in range(0, count, ROWS):
            multiply_byte_block(
                left.numbers, row, left.scales,
                right.numbers, column, (inner + 3) // 4, right.starts, right.scales,
                out, row, panel * PANEL,
            )  # fmt: skip
        column += PANEL


@helper
def _normed_bytes(x: Any, scale: Any, layer: int, which: int, out: ByteRows, count: int) -> None:
    width = x.shape[1]
    for r in range(count):
        bits = _LEAST_BITS
        for i in range(width):
            bits = max(bits, magnitude(x[r, i] * scale[layer, which, i]))
        largest = of_bits(bits)
        out.scales[r] = largest * inverse_rms(x, r, width) / _BYTE_MAX
        inverse = _BYTE_MAX / largest
        for i in range(width):
            number = x[r, i] * scale[layer, which, i] * inverse
            out.numbers[r, i] = low_byte(number + _ROUNDING)


@helper
def _bytes_of(x: Any, width: int, out: ByteRows, count: int) -> None:
    for r in range(count):
        bits = _LEAST_BITS
        for i in range(width):
            bits = max(bits, magnitude(x[r, i]))
        largest = of_bits(bits)
        out.scales[r] = largest / _BYTE_MAX
        inverse = _BYTE_MAX / largest
        for i in range(width):
            out.numbers[r, i] = low_byte(x[r, i] * inverse + _ROUNDING)


@helper
def pairs(inner: int) -> int:
    return (inner + 1) // 2


@helper
def panels(columns: int) -> int:
    return (columns + PANEL - 1) // PANEL
