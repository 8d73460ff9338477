"""Smoothed rates of outcomes by key, for each row from earlier days alone.

    rate(k, d) = (positives of k before d + SMOOTHING · r) / (rows of k before d + SMOOTHING)

with r the overall rate before day d. So no row sees its own outcome, nor that of its own day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 10.0  # rows of prior; see phoenix.evaluation.baselines.rates


def key_index(*columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows [N] numbered by the combination of their values, from 0."""
    index = np.unique(columns[0], return_inverse=True)[1].astype(np.int64)
    for column in columns[1:]:
        other = np.unique(column, return_inverse=True)[1].astype(np.int64)
        combined = index * (int(other.max(initial=0)) + 1) + other
        index = np.unique(combined, return_inverse=True)[1].astype(np.int64)
    return index


def rates_before(
    index: NDArray[np.int64],
    day: NDArray[np.int64],
    labels: NDArray[np.float64],
    wanted: NDArray[np.bool_],
    smoothing: float = SMOOTHING,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rate, rows counted) of each wanted row's key, from labels (nan: unknown) of earlier days.

    Where nothing at all is known before a day, its rates are nan.
    """
    size = int(index.max(initial=0)) + 1
    rates = np.full(len(index), np.nan)
    counts = np.zeros(len(index))
    told = ~np.isnan(labels)
    for today in np.unique(day[wanted]):
        known = told & (day < today)
        if not known.any():
            continue
        overall = float(labels[known].mean())
        rows = np.bincount(index[known], minlength=size)
        positives = np.bincount(index[known], weights=labels[known], minlength=size)
        asked = np.flatnonzero(wanted & (day == today))
        at = index[asked]
        rates[asked] = (positives[at] + smoothing * overall) / (rows[at] + smoothing)
        counts[asked] = rows[at]
    return rates[wanted], counts[wanted]
