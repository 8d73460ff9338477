"""Calibrates a ranker on a day that it was not trained on.

A second ranker, with the same settings, learns from all days but the last training day; what it
predicts for that day, beside what happened, gives the maps. The ranker that is measured learns from
all training days, and takes the shapes of these maps: no test row has a part in them. Their level
is its own: maps are shifted until its mean probability on the last training day is the rate of
that day. Two trainings differ in level by a tenth of a rate, more than two days do, and a level is
one number, which rows that the ranker has learned from can tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.calibration import Calibration, at_level, fit
from phoenix.evaluation.kuairand_data import ACTIONS, Rows

ROWS_MIN = 200  # of the last training day; fewer say nothing of a head


def day_to_fit_on(train: Rows) -> NDArray[np.bool_] | None:
    """Rows [N] of the last training day; None where there is only one, or too few rows."""
    last = train.days == train.days.max(initial=0)
    return last if (~last).any() and last.sum() >= ROWS_MIN else None


def fit_calibration(
    held_out: Rows, predict: Callable[[], NDArray[np.float64]], seed: int
) -> tuple[Calibration, dict[str, Any]]:
    """(Maps, what was chosen by which log loss) from raw predictions [N, A] of held-out rows."""
    raw = predict()
    heads, chosen = {}, {}
    for index, (name, (_, ours)) in enumerate(ACTIONS.items()):
        choice = fit(held_out.user_ids, held_out.outcomes[name], raw[:, index], seed=seed)
        heads[ours] = choice.head
        chosen[name] = {"kind": choice.head.kind, "held_out_log_loss": choice.log_losses}
    return Calibration(heads), chosen


def at_own_level(calibration: Calibration, held: Rows, raw: NDArray[np.float64]) -> Calibration:
    """The maps at the level of another ranker, whose raw predictions of `held` are [N, A]."""
    heads = dict(calibration.heads)
    for index, (name, (_, ours)) in enumerate(ACTIONS.items()):
        heads[ours] = at_level(heads[ours], held.outcomes[name], raw[:, index])
    return Calibration(heads)
