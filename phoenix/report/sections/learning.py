"""How the training went: loss, its parts, validation and the gradient's norm."""

from __future__ import annotations

import numpy as np

from phoenix.report import pictures
from phoenix.report.facts import Curve, ModelFacts
from phoenix.report.html import Section, grid, paragraph, picture, table
from phoenix.report.statistics import Floats
from phoenix.report.wording import count, number

LINES_MAX = 4  # of one picture
TABLE_ROWS_MAX = 12  # a curve's numbers at as many steps
NOT_MEASURES = {"step", "elapsed_seconds", "epoch", "seconds"}
TRAINING_LOSS, GRADIENT = "loss", "gradient_norm"
RATES = ("learning_rate", "rate")


def learning(model: ModelFacts) -> Section:
    """One picture a family of curves; what the curve's file does not hold is named."""
    curve = model.curve
    if not curve:
        return Section(
            "learning", "Learning", missing=(f"No learning curve: {model.curve_problem}.",)
        )
    names = [name for name in _names(curve) if name not in NOT_MEASURES]
    validation = [name for name in names if name.startswith("valid")]
    parts = [name for name in names if name not in {TRAINING_LOSS, GRADIENT, *validation, *RATES}]
    steps = _column(curve, "step")
    figures = []
    if TRAINING_LOSS in names:
        figures.append(_picture(curve, "Loss by step", [TRAINING_LOSS], steps, "step"))
        seconds = _column(curve, "elapsed_seconds" if "elapsed_seconds" in curve[0] else "seconds")
        if np.isfinite(seconds).any():
            figures.append(
                _picture(curve, "Loss by time", [TRAINING_LOSS], seconds, "seconds of training")
            )
    for start in range(0, len(parts), LINES_MAX):
        chosen = parts[start : start + LINES_MAX]
        figures.append(_picture(curve, "Parts of the loss", chosen, steps, "step"))
    for start in range(0, len(validation), LINES_MAX):
        chosen = validation[start : start + LINES_MAX]
        figures.append(_picture(curve, "Validation", chosen, steps, "step"))
    if GRADIENT in names:
        figures.append(_picture(curve, "Norm of the gradient", [GRADIENT], steps, "step"))
    missing = () if validation else (NO_VALIDATION,)
    return Section("learning", "Learning", paragraph(_summary(model)) + grid(figures), missing)


NO_VALIDATION = (
    "No validation curve: this training measured itself on its own batches alone. The "
    "finished model's figures on held-out rows stand under Quality."
)


def _summary(model: ModelFacts) -> str:
    metrics = model.meta.get("metrics")
    skipped = metrics.get("skipped_steps", 0) if isinstance(metrics, dict) else 0
    return (
        f"{count(model.step)} steps; {count(skipped)} left out because their gradient was not "
        "finite. Each point is the mean of the steps since the one before."
    )


def _picture(curve: Curve, title: str, names: list[str], x: Floats, x_name: str) -> str:
    series = {_title(name): _column(curve, name) for name in names}
    shown = {name: values for name, values in series.items() if np.isfinite(values).any()}
    first = next(iter(shown.values()), np.zeros(1))
    known = first[np.isfinite(first)]
    text = (
        f"{title}: {', '.join(shown)} against {x_name}"
        f"; from {number(float(known[0]))} to {number(float(known[-1]))}"
    )
    svg = pictures.lines(f"{title}-{names[0]}-{x_name}", title, x, shown, x_name, text)
    return picture(svg, f"{title}, {len(x)} points.", _numbers(x, x_name, shown))


def _numbers(x: Floats, x_name: str, series: dict[str, Floats]) -> str:
    at = np.unique(np.linspace(0, len(x) - 1, TABLE_ROWS_MAX).round().astype(int))
    rows = [(f"{x[i]:g}", *(number(float(values[i])) for values in series.values())) for i in at]
    return table((x_name, *series), rows)


def _names(curve: Curve) -> list[str]:
    """All measures, in the order in which they first come."""
    return list(dict.fromkeys(name for point in curve for name in point))


def _column(curve: Curve, name: str) -> Floats:
    """A measure over the curve; nan where a point lacks it."""
    values = [point.get(name) for point in curve]
    return np.array(
        [np.nan if not isinstance(value, int | float) else value for value in values],
        dtype=np.float64,
    )


def _title(name: str) -> str:
    return name.replace("_", " ")
