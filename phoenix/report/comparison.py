"""The model beside the baselines of its evaluation, from `evaluation.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phoenix.report.files import number

OURS = "ours"
MODEL_ROW = "model"  # rows of a table of predictors that are the trained model begin so


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of several predictors on the same rows; higher is better."""

    title: str
    measure: str
    values: Mapping[str, float]
    errors: Mapping[str, float]  # standard errors of some of them
    own: str = OURS


PRIMARY_NAMES = {  # of a result without a table of predictors
    "primary": OURS,
    "popularity_primary": "item popularity",
    "user_item_rate_primary": "user × item rate",
    "constant_primary": "no opinion (all equal)",
}


def comparisons(result: Mapping[str, Any]) -> list[Comparison]:
    """Every measure that baselines were measured by, too; none where there are no baselines."""
    rows = result.get("rows")
    if isinstance(rows, list) and all(isinstance(row, dict) and "name" in row for row in rows):
        return _of_rows(rows)
    primary = {
        label: number(result, name)
        for name, label in PRIMARY_NAMES.items()
        if not math.isnan(number(result, name))
    }
    if len(primary) < 2:
        return []
    return [Comparison("Primary of long_view", "(GAUC + nDCG@5) / 2", primary, {})]


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Rows of predictors by measures, each with a "spread" over seeds where there are several."""
    measures = dict.fromkeys(
        name for row in rows for name in row if not math.isnan(number(row, name))
    )
    return [_of_measure(rows, measure) for measure in measures]


def _of_measure(rows: Sequence[Mapping[str, Any]], measure: str) -> Comparison:
    values, errors = {}, {}
    for row in rows:
        value, spread = number(row, measure), row.get("spread")
        if math.isnan(value):
            continue
        values[str(row["name"])] = value
        if isinstance(spread, dict) and not math.isnan(number(spread, measure)):
            errors[str(row["name"])] = number(spread, measure)
    own = next((name for name in values if name.startswith(MODEL_ROW)), "")
    return Comparison(measure, measure, values, errors, own)
