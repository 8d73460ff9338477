"""The model beside the baselines of its evaluation, from `evaluation.json`.

`rows` holds a row a predictor: its name, its measures with a "spread", and, for rankers, "actions"
with each action's measures and their standard errors, and by how much ours is above it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix.report.files import number

OURS = "ours"
MODEL_ROW = "model"  # rows of a table of predictors that are the trained model begin so
NOT_MEASURES = {"seconds"}
CHIEF_ACTIONS = 3  # the most frequent ones are drawn, all stand in the table
DRAWN = {"auc": "AUC", "gauc": "GAUC"}  # of an action
MEASURES = {**DRAWN, "log_loss": "log loss", "ece": "calibration error"}
ERROR_SUFFIX = "_stderr"
PRIMARY, PRIMARY_FORMULA = "primary", "(GAUC + nDCG@5) / 2"

PRIMARY_NAMES = {  # of a result without rows
    "primary": OURS,
    "popularity_primary": "item popularity",
    "user_item_rate_primary": "user × item rate",
    "constant_primary": "no opinion (all equal)",
}

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of several predictors on the same rows; higher is better."""

    title: str
    measure: str
    values: Mapping[str, float]
    errors: Mapping[str, float]  # standard errors of some of them, or the spread over seeds
    own: str = OURS


def comparisons(result: Mapping[str, Any]) -> list[Comparison]:
    """Every measure that baselines were measured by, too; none where there are no baselines."""
    rows = rows_of(result)
    if rows:
        return [*_of_rows(rows), *_of_actions(rows, chief_actions(result))]
    primary = {
        label: number(result, name)
        for name, label in PRIMARY_NAMES.items()
        if not math.isnan(number(result, name))
    }
    if len(primary) < 2:
        return []
    return [Comparison("Primary of long_view", PRIMARY_FORMULA, primary, {})]


def rows_of(result: Mapping[str, Any]) -> list[Row]:
    """The predictors; [] where the result has none."""
    rows = result.get("rows")
    if not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, dict) and "name" in row]


def label_of(row: Row) -> str:
    return str(row.get("label") or row["name"])


def chief_actions(result: Mapping[str, Any]) -> list[str]:
    """The actions with the most positives."""
    actions = result.get("actions")
    if not isinstance(actions, dict):
        return []
    counts = {name: number(row, "positives") for name, row in actions.items()}
    return sorted(counts, key=lambda name: -counts[name])[:CHIEF_ACTIONS]


def action_rows(rows: Sequence[Row]) -> Iterator[tuple[str, str, Row]]:
    """(action, predictor, measures), action by action."""
    actions = dict.fromkeys(name for row in rows for name in row.get("actions", {}))
    for action in actions:
        for row in rows:
            if action in row.get("actions", {}):
                yield action, label_of(row), row["actions"][action]


def _of_rows(rows: Sequence[Row]) -> list[Comparison]:
    """Measures of the rows themselves, each with a "spread" where there is one."""
    measures = dict.fromkeys(
        name
        for row in rows
        for name in row
        if name not in NOT_MEASURES and not math.isnan(number(row, name))
    )
    return [_of_measure(rows, measure) for measure in measures]


def _of_measure(rows: Sequence[Row], measure: str) -> Comparison:
    values, errors = {}, {}
    for row in rows:
        value, spread = number(row, measure), row.get("spread")
        if math.isnan(value):
            continue
        values[label_of(row)] = value
        if isinstance(spread, dict) and not math.isnan(number(spread, measure)):
            errors[label_of(row)] = number(spread, measure)
    if measure == PRIMARY:
        return Comparison("Primary of long_view", PRIMARY_FORMULA, values, errors, _own(rows))
    return Comparison(measure, measure, values, errors, _own(rows))


def _of_actions(rows: Sequence[Row], actions: Sequence[str]) -> list[Comparison]:
    found = [
        Comparison(
            f"{title} of {action}",
            title,
            _column(rows, action, measure),
            _column(rows, action, measure + ERROR_SUFFIX),
            _own(rows),
        )
        for measure, title in DRAWN.items()
        for action in actions
    ]
    return [comparison for comparison in found if len(comparison.values) > 1]


def _column(rows: Sequence[Row], action: str, name: str) -> dict[str, float]:
    found = {label_of(row): number(row.get("actions", {}).get(action, {}), name) for row in rows}
    return {label: value for label, value in found.items() if not math.isnan(value)}


def _own(rows: Sequence[Row]) -> str:
    """The trained model's label; the first, where a table has several of them."""
    return next((label_of(row) for row in rows if str(row["name"]).startswith(MODEL_ROW)), "")
