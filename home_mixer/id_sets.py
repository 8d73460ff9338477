"""Membership in sorted id arrays: a binary search a value, cheaper than sorting both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from home_mixer.query import Ids, no_ids


def contains(ids: Ids, values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """[N]: is the value [N] among ``ids`` (sorted, distinct)? 0 means "none" and never is."""
    if not len(ids):
        return np.zeros(len(values), np.bool_)
    at = np.searchsorted(ids, values)
    at[at == len(ids)] = 0
    found: NDArray[np.bool_] = (ids[at] == values) & (values != 0)
    return found


def contains_any(ids: Ids, columns: Sequence[NDArray[np.uint64]]) -> NDArray[np.bool_]:
    """[N]: is any of the columns' values [N] among ``ids``? At least one column is needed."""
    found = contains(ids, columns[0])
    for column in columns[1:]:
        found |= contains(ids, column)
    return found


def union(first: Ids, second: Ids) -> Ids:
    """Sorted, distinct ids of both."""
    if not len(first) or not len(second):
        return first if len(first) else second if len(second) else no_ids()
    merged: Ids = np.union1d(first, second)
    return merged
