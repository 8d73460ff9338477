"""Do probabilities come true? Reliability curves and the expected calibration error.

    ECE = Σ_b n_b / N · |mean label of b − mean probability of b|

over BINS bins of equal width (equal parts of [0, 1], as in Guo et al., ICML 2017: what "ECE" says
where nothing else is said) or of equal mass (as many rows in each, which sees a rare action's rows;
Naeini et al., AAAI 2015). Chance alone makes both larger than 0: with n_b rows a bin's mean label
is off by about √(p (1 − p) / n_b). `chance` is the ECE that perfect probabilities would show on as
many rows, on average: nobody is reliably below it, and an ECE near it is as good as can be
measured. (Roelofs et al., AISTATS 2022, on this bias.)

N rows, B bins, U users.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 15
RESAMPLES = 200  # of users, for the standard error

_Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """Bins that hold rows, by ascending probability."""

    probabilities: _Floats  # [B], mean
    rates: _Floats  # [B], mean label
    counts: NDArray[np.int64]  # [B]


class CalibrationError(NamedTuple):
    """ECE over bins of equal mass, and what it is to be compared with."""

    value: float
    stderr: float  # over users
    equal_width: float
    chance: float  # of perfect probabilities
    equal_width_chance: float


def equal_mass_bins(probabilities: ArrayLike, bins: int = BINS) -> NDArray[np.int64]:
    """Bin [N] of each row; equal probabilities share one."""
    values = np.asarray(probabilities, dtype=np.float64)
    first = np.searchsorted(np.sort(values), values, side="left")
    return np.asarray(first * bins // max(len(values), 1), dtype=np.int64)


def equal_width_bins(probabilities: ArrayLike, bins: int = BINS) -> NDArray[np.int64]:
    """Bin [N] of each row among equal parts of [0, 1]."""
    values = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(np.minimum((values * bins).astype(np.int64), bins - 1))


def reliability_curve(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> Curve:
    """Points of the curve, bins of equal mass. ValueError: no probabilities, or other labels."""
    positive, values = _checked(labels, probabilities)
    bin_of = equal_mass_bins(values, bins)
    counts = np.bincount(bin_of, minlength=bins)
    filled = counts > 0
    return Curve(
        np.bincount(bin_of, weights=values, minlength=bins)[filled] / counts[filled],
        np.bincount(bin_of, weights=positive, minlength=bins)[filled] / counts[filled],
        counts[filled],
    )


def calibration_error(
    users: ArrayLike, labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS, seed: int = 0
) -> CalibrationError:
    """ECE with the standard error of resampling users; nan without rows."""
    positive, values = _checked(labels, probabilities)
    if len(values) == 0:
        return CalibrationError(*[math.nan] * 5)
    by_mass, by_width = equal_mass_bins(values, bins), equal_width_bins(values, bins)
    residuals = positive - values
    rng = np.random.default_rng(seed)
    drawn = [_ece(by_mass, residuals, weights) for weights in _user_weights(users, rng)]
    everyone = np.ones(len(values))
    return CalibrationError(
        _ece(by_mass, residuals, everyone),
        float(np.std(drawn, ddof=1)),
        _ece(by_width, residuals, everyone),
        _chance(by_mass, values),
        _chance(by_width, values),
    )


def _ece(bin_of: NDArray[np.int64], residuals: _Floats, weights: _Floats) -> float:
    return float(np.abs(np.bincount(bin_of, weights=residuals * weights)).sum() / weights.sum())


def _chance(bin_of: NDArray[np.int64], values: _Floats) -> float:
    """A bin's sum of residuals is about normal, and E|x| = σ √(2/π)."""
    variance = np.bincount(bin_of, weights=values * (1 - values))
    return float(np.sqrt(2 / np.pi * variance).sum() / len(values))


def _user_weights(users: ArrayLike, rng: np.random.Generator) -> list[_Floats]:
    """For each resample how often each row [N] counts: as often as its user was drawn."""
    index = np.unique(np.asarray(users), return_inverse=True)[1]
    count = int(index.max()) + 1
    drawn = (np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(RESAMPLES))
    return [times[index].astype(np.float64) for times in drawn]


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[_Floats, _Floats]:
    given = np.asarray(labels).astype(np.float64)
    values = np.asarray(probabilities, dtype=np.float64)
    if given.shape != values.shape or given.ndim != 1:
        raise ValueError(f"labels {given.shape} and probabilities {values.shape} must be one row")
    if not np.isin(given, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    if not ((values >= 0) & (values <= 1)).all():  # nan fails, too
        raise ValueError("calibration needs probabilities in [0, 1]")
    return given, values
