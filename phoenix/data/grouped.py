"""Rows sorted by (group, time), and a vectorised "which is the first at or after this time?".

Search keys are group · (T + 1) + rank of the time among the T distinct ones, so that they fit in
64 bits whatever the times are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class GroupedTimes:
    """G groups of rows with times, rows sorted by (group, time); groups are numbered from 0."""

    def __init__(self, groups: NDArray[np.int64], times_ms: NDArray[np.int64], count: int) -> None:
        self._times_ms = np.unique(times_ms)
        self._stride = len(self._times_ms) + 1
        self._keys = groups * self._stride + np.searchsorted(self._times_ms, times_ms)
        if (np.diff(self._keys) < 0).any():
            raise ValueError("GroupedTimes needs rows sorted by (group, time)")
        self.starts = np.searchsorted(groups, np.arange(count + 1)).astype(np.int64)  # [G + 1]

    def first_at_or_after(
        self, groups: NDArray[np.int64], times_ms: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Row of the first entry of each group at or after its time; the group's end if none."""
        ranks = np.searchsorted(self._times_ms, times_ms)
        return np.searchsorted(self._keys, groups * self._stride + ranks).astype(np.int64)


def pair_codes(left: NDArray[np.int64], right: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """A number for each distinct pair, in order of (left, right), and how many there are."""
    left_index = np.unique(left, return_inverse=True)[1]
    right_values, right_index = np.unique(right, return_inverse=True)
    joint = left_index.astype(np.int64) * max(len(right_values), 1) + right_index
    distinct, codes = np.unique(joint, return_inverse=True)
    return codes.astype(np.int64), len(distinct)
