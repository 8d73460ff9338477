"""What stands between the products, row by row, in float32.

R rows of one tile, N columns. `count` rows are real: what lies behind them is never looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phoenix.fused.instructions import LANES, PANEL, helper
from phoenix.fused.numbers import as_kept, bfloat16, nearest, power_of_two, widened

_F = np.float32
_ZERO, _ONE, _TWO = _F(0), _F(1), _F(2)
_LOG2_E, _LN2_HIGH, _LN2_LOW = _F(1.4426950408889634), _F(0.693359375), _F(-2.12194440e-4)
# 2^r for |r| <= 1/2: the Cephes library's polynomial, error 2e-7 of the value.
_P1, _P2, _P3 = _F(6.931472028550421e-1), _F(2.402264791363012e-1), _F(5.550332471162809e-2)
_P4, _P5, _P6 = _F(9.618437357674640e-3), _F(1.339887440266574e-3), _F(1.535336188319500e-4)
_POWER_MAX, _EXP_MAX = _F(126.0), _F(87.0)  # beyond them 2^n leaves float32
_GELU_SCALE, _GELU_CUBE = _F(0.7978845608028654), _F(0.044715)  # of the tanh form
_RMS_EPSILON = _F(1e-5)  # as in phoenix.layers
_SOFT_CAP = _F(30.0)  # as in phoenix.attention


@helper
def place(start: int, i: int) -> Any:
    """start + i, unsigned: an index that may be negative keeps a loop out of the registers."""
    return np.uint64(start) + np.uint64(i)


@helper
def power(y: Any) -> Any:
    """2^y of a float32 within ±126."""
    n = nearest(y)
    return _fraction(y - n) * power_of_two(n)


@helper
def _fraction(r: Any) -> Any:
    p = ((((_P6 * r + _P5) * r + _P4) * r + _P3) * r + _P2) * r + _P1
    return p * r + _ONE


@helper
def clipped_power(y: Any) -> Any:
    """2^y, for y clipped to ±126."""
    return power(min(max(y, -_POWER_MAX), _POWER_MAX))


@helper
def exponential(x: Any) -> Any:
    """e^x of a float32, for x clipped to ±87; to the last digits, which a product with log2 e
    would cost a large x."""
    x = min(max(x, -_EXP_MAX), _EXP_MAX)
    n = nearest(x * _LOG2_E)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    return _fraction(r * _LOG2_E) * power_of_two(n)


@helper
def capped_exponential(x: Any) -> Any:
    """exp(30 · tanh(x / 30)), tanh(y) being 1 − 2 / (e^2y + 1)."""
    doubled = clipped_power(x * (_TWO / _SOFT_CAP * _LOG2_E))
    highest = _SOFT_CAP * _LOG2_E
    return power(highest - (_TWO * highest) / (doubled + _ONE))


@helper
def gelu(x: Any) -> Any:
    """x · sigmoid(2 √(2/π) (x + 0.044715 x³)), the tanh form."""
    inner = _GELU_SCALE * (x + _GELU_CUBE * x * x * x)
    return x / (_ONE + clipped_power((-_TWO * _LOG2_E) * inner))


@helper
def normed_halves(x: Any, scale: Any, layer: int, which: int, out: Any, count: int) -> None:
    """Rows of x [R, N] divided by their root mean square, times the scale → bfloat16."""
    width = x.shape[1]
    for r in range(count):
        factor = inverse_rms(x, r, width)
        for i in range(width):
            out[r, i] = bfloat16(x[r, i] * factor * scale[layer, which, i])


@helper
def add_normed(x: Any, added: Any, scale: Any, layer: int, which: int, count: int) -> None:
    """x += the first columns of `added`, divided by their root mean square, times the scale."""
    width = x.shape[1]
    for r in range(count):
        factor = inverse_rms(added, r, width)
        for i in range(width):
            x[r, i] += added[r, i] * factor * scale[layer, which, i]


@helper
def inverse_rms(x: Any, r: int, width: int) -> Any:
    total = _ZERO
    for i in range(width):
        total += x[r, i] * x[r, i]
    return _ONE / np.sqrt(total / _F(width) + _RMS_EPSILON)


@helper
def rounded(x: Any, width: int, out: Any, count: int) -> None:
    """The first `width` columns → bfloat16."""
    for r in range(count):
        for i in range(width):
            out[r, i] = bfloat16(x[r, i])


@helper
def own_scores(projected: Any, query: int, key: int, size: int, out: Any, count: int) -> None:
    """Products of each candidate's query with its own key, at these columns → [R]."""
    for r in range(count):
        total = _ZERO
        for i in range(size):
            total += projected[r, place(query, i)] * projected[r, place(key, i)]
        out[r] = total


@helper
def weigh_own(scores: Any, scale: Any, totals: Any, inverse: Any) -> None:
    """Scores [R] → weights, in their place; 1 / (weight + total of the others)."""
    for r in range(scores.shape[0]):
        weight = capped_exponential(scores[r] * scale)
        scores[r] = weight
        inverse[r] = _ONE / (weight + totals[r])


@helper
def weigh(
    scores: Any, seen: int, first: int, scale: Any, weights: Any, totals: Any, count: int
) -> None:
    """Weights of the scores → bfloat16, zeros behind; their sums → [R].

    The first row sees the first `first` of them, each one more, and none more than `seen`. In
    whole registers: a loop's last few would be taken one by one. Sums have a loop of their own, or
    each register would be summed up apart.
    """
    registers = (seen + LANES - 1) // LANES
    for r in range(count):
        visible = np.uint64(min(seen, first + r))
        for register in range(registers):
            for lane in range(LANES):
                t = place(register * LANES, lane)
                weight = capped_exponential(scores[r, t] * scale)
                weight = weight if t < visible else _ZERO
                weights[r, t] = bfloat16(weight)
        total = _ZERO
        for t in range(registers * LANES):
            total += widened(weights[r, t])  # as they are multiplied: their rounding cancels
        totals[r] = total


@helper
def rotate(x: Any, vectors: int, size: int, turns: Any, tokens: Any, count: int) -> None:
    """Rotary embedding of the first `vectors` · `size` columns, by turns [T, cosine or sine, K/2]
    at each row's token; pairs are (i, i + K/2)."""
    half = size // 2
    for r in range(count):
        token = np.uint64(tokens[r])
        for vector in range(vectors):
            for i in range(half):
                one, other = place(vector * size, i), place(vector * size + half, i)
                a, b = x[r, one], x[r, other]
                cosine, sine = turns[token, 0, i], turns[token, 1, i]
                x[r, one] = a * cosine - b * sine
                x[r, other] = b * cosine + a * sine


@helper
def gated(gates: Any, values: Any, out: Any, column: int, count: int) -> None:
    """gelu(gates) ⊙ values [R, PANEL] → columns of `out` from `column` on, as it keeps them."""
    for r in range(count):
        for i in range(PANEL):
            out[r, place(column, i)] = as_kept(gelu(gates[r, i]) * values[r, i], out)
