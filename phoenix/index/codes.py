"""Vectors as int8 codes, and how far a score from codes may be from the float32 score.

A row x becomes codes c with one scale: x ~ scale * c, |c| <= 127. The query q becomes sixteen-bit
integers: q ~ unit * (256 * high + low). With x' and q' for what the integers stand for,

    |x.q - x'.q'|  <=  |x - x'| |q|  +  |x'| |q - q'|

by Cauchy and Schwarz: a bound of every row's float32 score, which makes a search exact. To it comes
the rounding of the float32 dot product itself, at most (D + 16) 2^-24 |x| |q|, and of the bound.
Source of the last: Higham, Accuracy and Stability of Numerical Algorithms, 3.1.

N rows, B blocks of 64 rows, G groups of 4 dimensions, D width.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from phoenix.index.dots import BLOCK_ROWS, CODE_ZERO, GROUP

CODE_MAX = 127
HIGH_MAX = 32_512  # 127 * 256: the high plane is a signed byte
_ROUNDING = 2.0**-24
_SAFETY = 1.0 + 1e-5  # the bounds are computed in floating point too


class QueryCodes(NamedTuple):
    """One query in integers, and what a row's bound needs of it."""

    high: NDArray[np.int8]  # [4 G]
    low: NDArray[np.int8]  # [4 G]
    start_high: int  # takes back what the codes have on top
    start_low: int
    unit: float
    slack: float  # of the row's scale: |q - q'| and rounding
    norm: float  # of the row's error: |q|


def n_groups(dimension: int) -> int:
    """G."""
    return -(-dimension // GROUP)


def rounding(dimension: int) -> float:
    """Share of |x| |q| by which a float32 dot product, and one from codes, may be off."""
    return (dimension + 16) * _ROUNDING * _SAFETY


def encode_query(query: NDArray[np.float32]) -> QueryCodes:
    """`query` [D], finite, in two planes of bytes."""
    dimension, exact = len(query), query.astype(np.float64)
    largest = float(np.abs(exact).max(initial=0.0))
    unit = largest / HIGH_MAX
    whole = np.zeros(GROUP * n_groups(dimension), np.int64)
    if unit > 0:
        whole[:dimension] = np.rint(exact / unit)
    high = (whole + 128) >> 8
    low = whole - 256 * high
    off = float(np.linalg.norm(exact - unit * whole[:dimension]))
    norm = float(np.linalg.norm(exact)) * _SAFETY
    share = rounding(dimension)
    row_norm_max = CODE_MAX * math.sqrt(dimension)  # of x', in scales
    return QueryCodes(
        high.astype(np.int8),
        low.astype(np.int8),
        int(-CODE_ZERO * high.sum()),
        int(-CODE_ZERO * low.sum()),
        unit,
        row_norm_max * (off * _SAFETY + 2 * share * norm),
        norm * (1 + 2 * share),
    )


@numba.njit(nogil=True, cache=True)
def encode_rows(
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    codes: NDArray[np.uint8],
    scales: NDArray[np.float32],
    errors: NDArray[np.float32],
) -> None:
    """Writes the codes of `vectors` [n, D] into `rows` [n] of codes [B, 256 G], and their bounds.

    errors[row] is |x - x'| and its own rounding.
    """
    safety = np.float32(1.0 + 1e-5)
    for at in range(len(rows)):
        block, inside = rows[at] // 64, rows[at] % 64
        largest = np.float32(0.0)
        for d in range(vectors.shape[1]):
            largest = max(largest, abs(vectors[at, d]))
        scale = largest / np.float32(127.0)
        squares = 0.0
        for d in range(vectors.shape[1]):
            code = np.rint(vectors[at, d] / scale) if scale > 0.0 else 0.0
            code = min(max(code, -127.0), 127.0)
            off = np.float64(vectors[at, d]) - np.float64(scale) * code
            squares += off * off
            codes[block, 256 * (d // 4) + 4 * inside + d % 4] = np.uint8(int(code) + 128)
        scales[rows[at]] = scale
        errors[rows[at]] = np.float32(np.sqrt(squares)) * safety


def code_blocks(rows: int) -> int:
    """B: blocks that hold so many rows."""
    return -(-rows // BLOCK_ROWS)
