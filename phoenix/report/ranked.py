"""What an evaluation without probabilities leaves: tables of measures and, perhaps, a curve.

`evaluation.json` of a sequential recommender (`foryou eval sequential --checkpoint DIR`) is the
object that its --json prints: rows of measures by predictor with their spread over seeds, and each
training's curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from phoenix.evaluation.kept import RESULT_FILE
from phoenix.report.facts import ModelFacts, beside
from phoenix.report.files import ReportError, read_object

VERSION_KEY = "version"  # name of the version's directory that was measured
NOT_VALIDATION = {"epoch", "step", "elapsed_seconds", "loss"}
VALIDATION = "validation "


def read_result(model: ModelFacts, directory: Path | None) -> Mapping[str, Any]:
    """`evaluation.json` in `directory`, or beside the checkpoint; {} where there is none there.

    ReportError: it is broken, of another version, or absent where it was named.
    """
    path = beside(model, RESULT_FILE) if directory is None else directory / RESULT_FILE
    if path is None:
        return {}
    result = read_object(path)
    version = result.get(VERSION_KEY)
    if version is not None and version != model.path.name:
        raise ReportError(
            f"{path} measured version {version}, the report is of {model.path.name}: name the "
            "version that was measured, or evaluate this one"
        )
    return result


def with_curve(model: ModelFacts, result: Mapping[str, Any]) -> ModelFacts:
    """The same facts with the curve that the evaluation's first training left, if it did."""
    trainings = result.get("trainings")
    if model.curve or not isinstance(trainings, list) or not trainings:
        return model
    fit = trainings[0].get("fit", {}) if isinstance(trainings[0], dict) else {}
    curve = [_point(point) for point in fit.get("curve", []) if isinstance(point, dict)]
    return replace(model, curve=curve, curve_problem="") if curve else model


def _point(point: Mapping[str, Any]) -> dict[str, float]:
    """Measures of a validation are named so."""
    return {name if name in NOT_VALIDATION else VALIDATION + name: v for name, v in point.items()}
