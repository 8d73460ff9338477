"""Gradient-boosted trees (LightGBM; Ke et al., NIPS 2017), one model an action.

Inputs: smoothed rates and counts of earlier days by video, author, tag, user and their pairs, of
the action itself, long_view, click and like; the user × item rate; the viewer's and the video's
static columns; tab, hour and tag. Video and author enter by their rates: as categories of their own
they made every figure of 27 April worse (primary .5153 for .5235), as each has a few rows a day.

The number of rounds is the one that was best on the last known day, of trees grown on the days
before; the trees that predict are then grown on all days. The older part counts in every rate, and
as it has no time, tab or hour, its rows are no training rows.

N rows, X inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.evaluation.baselines.examples import Examples, Task
from phoenix.evaluation.baselines.statistics import key_index, rates_before

THREADS = 2
ROUNDS_MAX, PATIENCE = 1000, 40
PARAMETERS = {  # chosen on 27 April 2022, trained on the days before
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "num_threads": THREADS,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
HELPERS = ("long_view", "click", "like")  # actions whose rates help to tell the others
MAIN_KEYS = ("video", "author", "tag", "user")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What trees read, of the known rows with a time and of the asked rows, in this order."""

    names: tuple[str, ...]
    values: NDArray[np.float64]  # [N, X], nan: unknown
    categories: tuple[str, ...]
    rows: Examples


def fit_predict(
    task: Task, action_names: Sequence[str], action: int, seed: int
) -> tuple[NDArray[np.float64], int] | None:
    """(Probabilities of the asked rows, rounds); None where too few days or outcomes are known."""
    inputs = make_inputs(task, action_names, action)
    labels, day = inputs.rows.labels[:, action], inputs.rows.day
    asked = day > task.last_day
    told = ~asked & ~np.isnan(labels)
    early, late = told & (day < task.last_day), told & (day == task.last_day)
    if min(len(np.unique(labels[early])), len(np.unique(labels[late]))) < 2:
        return None
    import lightgbm  # only evaluations need it

    parameters = PARAMETERS | {"seed": seed}
    first = _data(inputs, early, labels)
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    trees = lightgbm.train(
        parameters, first, ROUNDS_MAX,
        valid_sets=[_data(inputs, late, labels, first)], callbacks=[stop],
    )  # fmt: skip
    rounds = max(int(trees.best_iteration), 1)
    trees = lightgbm.train(parameters, _data(inputs, told, labels), rounds)
    return np.asarray(trees.predict(inputs.values[asked]), dtype=np.float64), rounds


def make_inputs(task: Task, action_names: Sequence[str], action: int) -> Inputs:
    """Rates for each row come from days before its own; see `rates_before`."""
    rows = Examples.concat([task.known, task.asked])
    wanted = rows.day >= 1
    keys = _keys(rows)
    columns: dict[str, NDArray[np.float64]] = {}
    helpers = [action_names.index(name) for name in HELPERS if name in action_names]
    for index in dict.fromkeys([action, *helpers]):
        name = action_names[index]
        for key in keys if index == action else MAIN_KEYS:
            rate, count = rates_before(keys[key], rows.day, rows.labels[:, index], wanted)
            columns[f"{name}_by_{key}"] = rate
            if index == action:
                columns[f"{name}_rows_by_{key}"] = count
        columns[f"{name}_user_item"] = columns[f"{name}_by_user"] * columns[f"{name}_by_video"]
    kept = rows.take(wanted)
    columns |= {
        "duration_seconds": kept.duration_seconds,
        "age_days": kept.age_days,
        "hour": kept.hour.astype(np.float64),
        "tab": kept.tab.astype(np.float64),
        "tag": kept.tags[:, 0].astype(np.float64),
    }
    columns |= {f"user_{n}": kept.user_features[:, n] for n in range(kept.user_features.shape[1])}
    values = np.stack(list(columns.values()), axis=1)
    return Inputs(tuple(columns), values, ("tab", "tag"), kept)


def _keys(rows: Examples) -> dict[str, NDArray[np.int64]]:
    user, video, tag = rows.user_ids, rows.video_ids, rows.tags[:, 0]
    return {
        "video": key_index(video),
        "author": key_index(rows.author_ids),
        "tag": key_index(tag),
        "user": key_index(user),
        "user_author": key_index(user, rows.author_ids),
        "user_tag": key_index(user, tag),
        "user_tab": key_index(user, rows.tab),
        "video_tab": key_index(video, rows.tab),
        "user_video": key_index(user, video),
    }


def _data(
    inputs: Inputs, chosen: NDArray[np.bool_], labels: NDArray[np.float64], like: Any = None
) -> Any:
    import lightgbm

    return lightgbm.Dataset(
        inputs.values[chosen],
        labels[chosen],
        feature_name=list(inputs.names),
        categorical_feature=list(inputs.categories),
        reference=like,
    )
