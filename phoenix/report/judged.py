"""An evaluation to be reported: the rows (`phoenix.evaluation.kept`), the result, and its origin.

N rows. Checked here, as a page of numbers from a broken file would look like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.evaluation.kept import RESULT_FILE, ROWS_FILE, Evaluated, read_evaluation
from phoenix.report.facts import ModelFacts, beside
from phoenix.report.files import ReportError

RANKER = "ranker"  # the kind of model whose rows are judged
MAKE_ONE = (
    "foryou eval kuairand --data DIR --keep CHECKPOINTS writes one beside the model; for a model "
    "of your own log, foryou report CHECKPOINT --data-dir DIR measures it"
)


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows with outcomes and predictions."""

    rows: Evaluated
    result: Mapping[str, Any]  # evaluation.json; {} where the rows were judged here
    origin: str  # a sentence: where the rows are from, whether the model has been trained on them

    def __len__(self) -> int:
        return len(self.rows.viewer_ids)

    @property
    def actions(self) -> tuple[str, ...]:
        """Those whose outcomes are known."""
        return tuple(name for name in self.rows.action_names if name in self.rows.labels)

    def labels(self, action: str) -> NDArray[np.int8]:
        return self.rows.labels[action].astype(np.int8)

    def served(self, action: str) -> NDArray[np.float64]:
        """Probabilities [N] as serving answers them."""
        return self.rows.probabilities[:, self.rows.action_names.index(action)]

    def raw(self, action: str) -> NDArray[np.float64]:
        """Probabilities [N] before calibration."""
        return self.rows.raw[:, self.rows.action_names.index(action)]

    @property
    def is_calibrated(self) -> bool:
        return not np.array_equal(self.rows.raw, self.rows.probabilities)

    def chief(self, count: int) -> tuple[str, ...]:
        """Up to `count` actions that happened and failed to happen, the most frequent first."""
        positives = {name: int(self.rows.labels[name].sum()) for name in self.actions}
        both = [name for name in self.actions if 0 < positives[name] < len(self)]
        return tuple(sorted(both, key=lambda name: -positives[name])[:count])


def read_judged(facts: ModelFacts, directory: Path | None) -> Judged | None:
    """The evaluation in `directory`, or beside the checkpoint; None where there is none.

    ReportError: one is there and broken, or it is another model's.
    """
    place = directory or _beside(facts)
    if place is None or facts.kind != RANKER:
        return None
    try:
        rows, result = read_evaluation(place)
    except ValueError as error:
        raise ReportError(str(error)) from error
    _check(rows, place / ROWS_FILE)
    if not isinstance(result, dict):
        raise ReportError(f"{place / RESULT_FILE} must hold a JSON object")
    _check_version(facts, result, place / RESULT_FILE)
    return Judged(rows, result, _origin(result))


def _beside(facts: ModelFacts) -> Path | None:
    for name in (ROWS_FILE, RESULT_FILE):
        found = beside(facts, name)
        if found is not None:
            return found.parent
    return None


def _check(rows: Evaluated, path: Path) -> None:
    if len(rows.viewer_ids) == 0:
        raise ReportError(f"{path} has no rows; evaluate on a set that has some")
    if not rows.labels:
        raise ReportError(
            f"{path} has predictions and no outcomes (label_<action>): evaluate on rows whose "
            "outcomes are known"
        )
    for name, values in (("p_", rows.probabilities), ("raw_", rows.raw)):
        if not ((values >= 0) & (values <= 1)).all():  # nan fails it, too
            raise ReportError(f"{path}: {name}<action> must be probabilities from 0 to 1")


def _check_version(facts: ModelFacts, result: Mapping[str, Any], path: Path) -> None:
    """The directory of versions may have got a newer model since."""
    protocol = result.get("protocol")
    version = protocol.get("model_version") if isinstance(protocol, dict) else None
    if version is not None and version != facts.model_version:
        raise ReportError(
            f"{path} measured model {version}, {facts.path} is {facts.model_version}: name the "
            "version that was measured, or evaluate this one"
        )


def _origin(result: Mapping[str, Any]) -> str:
    protocol = result.get("protocol")
    if not isinstance(protocol, dict):
        return f"Read from {ROWS_FILE}."
    return (
        f"Read from {ROWS_FILE}: rows of the {protocol.get('test', 'test set')} that the model was "
        "not trained on."
    )
