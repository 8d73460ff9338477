"""The blocks of our own kernels, on one core and in its caches: what layers can reach at most.

A tile's rows by a matrix of the mid-size model's width; every number of the operands is one, so
that both blocks must answer the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numba
import numpy as np

from phoenix.fused.blocks import LEFT_ZERO
from phoenix.fused.instructions import PANEL
from phoenix.fused.layers import TILE_ROWS
from phoenix.fused.operands import ByteRows, Bytes, multiply
from phoenix.fused.packing import halves, packed, packed_bytes, whole

INNER, COLUMNS, PRODUCTS = 256, 512, 50  # a turn's products take a millisecond

Turn = Callable[[], Any]


def operations(seconds: float) -> float:
    """A second's multiplications and additions, of a turn that took so long."""
    return 2 * TILE_ROWS * INNER * COLUMNS * PRODUCTS / seconds


def block_turns(served: Iterable[str]) -> dict[str, Turn]:
    """By name, of the types in which our kernels run here; none where XLA runs the layers.

    AssertionError where a product is not what it must be.
    """
    if "int8" not in served:
        return {}
    ones = np.ones((TILE_ROWS, INNER), np.float32)
    matrix = np.ones((INNER, COLUMNS), np.float32)
    of_bytes = packed_bytes(matrix)
    scales = np.ones(TILE_ROWS, np.float32)
    rows = ByteRows(np.full(ones.shape, LEFT_ZERO + 1, np.uint8), scales)
    right = Bytes(of_bytes.numbers[None], of_bytes.starts[None], of_bytes.scales[None])
    return {
        "block, bfloat16": _turn(halves(ones), packed(halves(matrix))[None]),
        "block, int8": _turn(rows, right),
    }


def _turn(left: Any, right: Any) -> Turn:
    out = np.zeros((TILE_ROWS, whole(COLUMNS)), np.float32)

    def turn() -> None:
        _multiplied(left, right, INNER, COLUMNS // PANEL, PRODUCTS, out)

    turn()
    assert np.allclose(out, INNER), f"a block answers {out[0, 0]}, expected {INNER}"
    return turn


def _repeated(left, right, inner, panels, times, out):  # type: ignore[no-untyped-def]
    for _ in range(times):
        multiply(left, right, 0, 0, inner, panels, out, len(out))


_multiplied: Any = numba.njit(nogil=True)(_repeated)
