"""A budget for what a feed costs: its processor time against a calibration's, in the same run.

The feed's real components on in-memory clients take turns with the object pipeline on a smaller
request, which is never changed: the same rules as plain Python. A slow or shared machine slows
both, a regression the feed alone. What is compared is the lower decile of each side's turns, the
moments in which nobody disturbed it: beside four busy processes it moves by up to 8 %, the median
by up to 12 %. The check fails when the ratio is above the committed one by more than 15 %.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MARGIN = 0.15  # a regression of so much fails
UNDISTURBED = 0.1  # quantile
GROUPS = 8  # of turns, which stand for repeated runs when the spread is stated


@dataclass(frozen=True, slots=True)
class Ratio:
    """Feed / calibration, and twice its standard error."""

    value: float
    spread: float
    turns: int


def measure_ratio(
    feed: Callable[[], object],
    calibration: Callable[[], object],
    clock_s: Callable[[], float],
    turns: int,
    warm_up: int = 5,
) -> Ratio:
    """Both in turn. clock_s: processor time of this thread. ValueError for too few turns."""
    if turns < 2 * GROUPS:
        raise ValueError(f"turns is {turns}; at least {2 * GROUPS} are expected, for a spread")
    spent = np.empty((turns, 2))
    for turn in range(-warm_up, turns):
        for side, run in enumerate((feed, calibration)):
            started = clock_s()
            run()
            if turn >= 0:
                spent[turn, side] = clock_s() - started
    groups = np.array([_ratio(spent[group::GROUPS]) for group in range(GROUPS)])
    return Ratio(_ratio(spent), float(2.0 * groups.std(ddof=1) / GROUPS**0.5), turns)


def _ratio(spent: NDArray[np.float64]) -> float:
    """Of seconds [turns, 2]."""
    feed, calibration = np.quantile(spent, UNDISTURBED, axis=0)
    return float(feed / calibration)


def verdict(found: Ratio, baseline: float) -> str:
    """What is wrong, "" when nothing is."""
    if found.value <= baseline * (1.0 + MARGIN):
        return ""
    return (
        f"one feed costs {found.value:.3f} of the calibration, {found.value / baseline - 1:+.0%}"
        f" against the committed {baseline:.3f}; at most {MARGIN:+.0%} is allowed. Profile"
        " `foryou bench pipeline`, or, if the cost is meant, run `python -m benchmarks.budget"
        " --update` and commit the baseline"
    )
