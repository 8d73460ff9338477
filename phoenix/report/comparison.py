"""The model beside the baselines of its evaluation, from `evaluation.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phoenix.report.files import number

OURS = "ours"


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
    primary = {
        label: number(result, name)
        for name, label in PRIMARY_NAMES.items()
        if not math.isnan(number(result, name))
    }
    if len(primary) < 2:
        return []
    return [Comparison("Primary of long_view", "(GAUC + nDCG@5) / 2", primary, {})]
