"""Which target rows share one context: consecutive rows of a viewer, close in time, at most C."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix.data.impressions import Impressions

CONTEXT_GAP_MS = 600_000  # a longer pause starts a new context, so that histories do not go stale


@dataclass(frozen=True, eq=False)
class Contexts:
    """K contexts; `rows` holds the row of each candidate, -1 is padding."""

    viewer_ids: NDArray[np.int64]  # [K]
    at_ms: NDArray[np.int64]  # [K] time of the first candidate
    rows: NDArray[np.int64]  # [K, C]

    def __len__(self) -> int:
        return len(self.viewer_ids)


def find_contexts(impressions: Impressions, candidates: int, gap_ms: int) -> Contexts:
    """Cut target rows (weight > 0) at a new viewer, at a pause over `gap_ms`, and every C rows."""
    targets = np.flatnonzero(impressions.weight > 0).astype(np.int64)
    if len(targets) == 0:
        raise ValueError("no impression has weight > 0, so there is nothing to train on")
    viewers, times = impressions.viewer_ids[targets], impressions.impressed_at_ms[targets]
    new_run = np.ones(len(targets), dtype=np.bool_)
    new_run[1:] = (np.diff(viewers) != 0) | (np.diff(times) > gap_ms)
    run_start = np.maximum.accumulate(np.where(new_run, np.arange(len(targets)), 0))
    slot = (np.arange(len(targets)) - run_start) % candidates
    first = np.flatnonzero(slot == 0)
    context = np.cumsum(slot == 0) - 1
    rows = np.full((len(first), candidates), -1, dtype=np.int64)
    rows[context, slot] = targets
    return Contexts(viewer_ids=viewers[first], at_ms=times[first], rows=rows)
