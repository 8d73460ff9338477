"""A factorisation machine (Rendle, ICDM 2010) of rows of features, learned row by row with AdaGrad.

    logit = w₀ + Σ_f w_f + Σ_{f<g} ⟨v_f, v_g⟩ = w₀ + Σ_f w_f + ½ (|Σ_f v_f|² − Σ_f |v_f|²)

over a row's features; feature 0 is padding and counts not. The loss is cross-entropy with the
penalty ½ λ (w² + |v|²) once for each row that a feature stands in (Duchi et al., JMLR 2011, for the
steps). Every row weighs the same.

N rows, F features, K rank, M features of a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

EPSILON = np.float32(1e-6)  # of AdaGrad's denominator


class Machine(NamedTuple):
    """Parameters, or AdaGrad's sums of squared gradients of them."""

    bias: NDArray[np.float32]  # [1]
    weights: NDArray[np.float32]  # [F]
    factors: NDArray[np.float32]  # [F, K]


def fresh(rate: float, size: int, rank: int, scale: float, rng: np.random.Generator) -> Machine:
    """A machine [F = size] that answers `rate`, its factors drawn with this standard deviation."""
    return Machine(
        bias_of(rate),
        np.zeros(size, dtype=np.float32),
        rng.normal(0.0, scale, (size, rank)).astype(np.float32),
    )


def bias_of(rate: float) -> NDArray[np.float32]:
    """w₀ [1] of a machine that answers `rate`, which is kept from 0 and 1."""
    kept = np.clip(rate, 1e-6, 1 - 1e-6)
    return np.full(1, np.log(kept / (1 - kept)), dtype=np.float32)


def no_steps(machine: Machine) -> Machine:
    """AdaGrad's empty sums."""
    return Machine(*(np.zeros_like(part) for part in machine))


def learn(
    machine: Machine,
    sums: Machine,
    features: NDArray[np.int32],
    labels: NDArray[Any],
    learning_rate: float,
    penalty: float,
    rng: np.random.Generator,
) -> None:
    """One pass over all rows [N, M] in a new order; changes both machines."""
    order = rng.permutation(len(labels))
    rates = np.float32(learning_rate), np.float32(penalty)
    _learn(features[order], labels[order].astype(np.float32), *rates, *machine, *sums)


def logits(machine: Machine, features: NDArray[np.int32]) -> NDArray[np.float32]:
    """[N] of rows [N, M]."""
    found = np.zeros(len(features), dtype=np.float32)
    _logits(features, *machine, found)
    return found


@numba.njit(nogil=True, cache=True, fastmath=True)
def _logit(row: Any, bias: Any, weights: Any, factors: Any, total: NDArray[np.float32]) -> Any:
    """The formula at the top for one row [M]; leaves Σ v in `total` [K]."""
    result = bias[0]
    total[:] = 0.0
    squares = np.float32(0.0)
    for feature in row:
        if feature > 0:
            result += weights[feature]
            for k in range(len(total)):
                value = factors[feature, k]
                total[k] += value
                squares += value * value
    pairs = np.float32(0.0)
    for k in range(len(total)):
        pairs += total[k] * total[k]
    return result + np.float32(0.5) * (pairs - squares)


@numba.njit(nogil=True, cache=True)
def _logits(features: Any, bias: Any, weights: Any, factors: Any, found: Any) -> None:
    total = np.zeros(factors.shape[1], dtype=np.float32)
    for n in range(len(features)):
        found[n] = _logit(features[n], bias, weights, factors, total)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _learn(
    features: Any,  # [N, M]
    labels: Any,  # [N]
    rate: np.float32,
    penalty: np.float32,
    bias: Any,
    weights: Any,
    factors: Any,
    bias_sums: Any,
    weight_sums: Any,
    factor_sums: Any,
) -> None:
    """One step of AdaGrad a row, in the order of the rows."""
    total = np.zeros(factors.shape[1], dtype=np.float32)
    for n in range(len(features)):
        found = _logit(features[n], bias, weights, factors, total)
        error = np.float32(1.0) / (np.float32(1.0) + np.exp(-found)) - labels[n]
        bias_sums[0] += error * error
        bias[0] -= rate * error / (np.sqrt(bias_sums[0]) + EPSILON)
        for feature in features[n]:
            if feature == 0:
                continue
            slope = error + penalty * weights[feature]
            weight_sums[feature] += slope * slope
            weights[feature] -= rate * slope / (np.sqrt(weight_sums[feature]) + EPSILON)
            for k in range(len(total)):
                value = factors[feature, k]
                slope = error * (total[k] - value) + penalty * value
                factor_sums[feature, k] += slope * slope
                factors[feature, k] = value - rate * slope / (
                    np.sqrt(factor_sums[feature, k]) + EPSILON
                )
