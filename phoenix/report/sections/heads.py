"""Are the probabilities true, and do they tell rows apart? One panel a head."""

from __future__ import annotations

import numpy as np

from phoenix.report import pictures, statistics
from phoenix.report.html import Section, grid, heading, paragraph, picture, table
from phoenix.report.judged import MAKE_ONE, Judged
from phoenix.report.statistics import Operating, Reliability
from phoenix.report.wording import count, number

CHIEF_HEADS = 4  # curves that one picture can hold
FEW_POSITIVES = 50  # below, a curve is mostly chance; the caption says so
TABLE_ROWS_MAX = 11


def reliability(judged: Judged | None) -> Section:
    """Reliability before and after calibration."""
    anchor, title = "reliability", "Reliability"
    if judged is None:
        return Section(anchor, title, missing=(f"No reliability curves: {MAKE_ONE}.",))
    missing = () if judged.is_calibrated else (NOT_CALIBRATED,)
    figures = [_reliability(judged, action) for action in judged.actions]
    return Section(anchor, title, paragraph(RELIABILITY) + grid(figures), missing)


RELIABILITY = (
    "When the model says 30 %, does it happen in 30 of 100 cases? Rows are put into bins of equal "
    "size by their prediction; a point on the dashed line is right, above it the model promised "
    "too little. Bars are 95 % intervals of the share in a bin."
)
NOT_CALIBRATED = (
    "Served and raw probabilities are the same: this checkpoint has no calibration. foryou eval "
    "kuairand fits one; training alone does not."
)


def scores(judged: Judged | None) -> Section:
    """Histograms by outcome, ROC and precision."""
    anchor, title = "scores", "Scores"
    if judged is None:
        return Section(anchor, title, missing=(f"No score histograms: {MAKE_ONE}.",))
    figures = [_scores(judged, action) for action in judged.actions]
    chief = judged.chief(CHIEF_HEADS)
    curves = {a: statistics.operating(judged.labels(a), judged.served(a)) for a in chief}
    body = [paragraph(SCORES), grid(figures)]
    if curves:
        body += [heading(f"Every threshold: {', '.join(chief)}"), grid(_curves(curves))]
    return Section(anchor, title, "\n".join(body))


SCORES = (
    "Predictions of the rows in which the action happened and of those in which it did not, each "
    "adding up to one. The less they overlap, the better the head tells rows apart."
)


def _reliability(judged: Judged, action: str) -> str:
    labels, served, raw = judged.labels(action), judged.served(action), judged.raw(action)
    positives = int(labels.sum())
    bins = statistics.bins_for(positives)
    after = statistics.reliability(labels, served, bins)
    before = statistics.reliability(labels, raw, bins) if judged.is_calibrated else None
    error = statistics.reliability(labels, served).error
    text = f"{action}: expected calibration error {number(error)}"
    if before is not None:
        text += f", {number(statistics.reliability(labels, raw).error)} before calibration"
    caption = f"{text}; {count(positives)} positives{_few(positives)}."
    svg = pictures.calibration(
        f"reliability-{action}", action, before, after, f"Reliability of {text}"
    )
    return picture(svg, caption, _bins(before, after))


def _bins(before: Reliability | None, after: Reliability) -> str:
    """One table a curve: equal predictions share a bin, so the two may have different numbers."""
    earlier = "" if before is None else _curve_table(before, "before calibration")
    return _curve_table(after, "served") + earlier


def _curve_table(curve: Reliability, caption: str) -> str:
    rows = [
        (
            str(index + 1), count(curve.count[index]), number(curve.predicted[index]),
            number(curve.observed[index]),
            f"{number(curve.low[index])}–{number(curve.high[index])}",
        )
        for index in range(len(curve.count))
    ]  # fmt: skip
    return table(("bin", "rows", "predicted", "observed", "95 %"), rows, caption=caption)


def _scores(judged: Judged, action: str) -> str:
    labels, served = judged.labels(action), judged.served(action)
    positives = int(labels.sum())
    means = [
        served[labels == label].mean() if (labels == label).any() else None for label in (0, 1)
    ]
    text = (
        f"{action}: mean prediction {number(means[1])} where it happened, {number(means[0])} where "
        "it did not"
    )
    svg = pictures.scores(
        f"scores-{action}", action, statistics.histogram(labels, served), f"Scores of {text}"
    )
    rows = []
    for label, name in ((1, "happened"), (0, "did not happen")):
        chosen = served[labels == label]
        if len(chosen):
            quantiles = np.quantile(chosen, (0.05, 0.25, 0.5, 0.75, 0.95))
            rows.append((name, count(len(chosen)), *(number(float(q)) for q in quantiles)))
    numbers = table(("rows in which it", "rows", "5 %", "25 %", "median", "75 %", "95 %"), rows)
    return picture(svg, f"{text}{_few(positives)}.", numbers)


def _curves(curves: dict[str, Operating]) -> list[str]:
    names = ", ".join(curves)
    averages = "; ".join(f"{a} {number(c.average_precision, 3)}" for a, c in curves.items())
    roc = pictures.receiver("roc", curves, f"ROC curves of {names}")
    precision = pictures.precision("precision", curves, f"Precision against recall of {names}")
    roc_rows, precision_rows = [], []
    for action, curve in curves.items():
        at = np.linspace(0, len(curve.recall) - 1, TABLE_ROWS_MAX).round().astype(int)
        for i in np.unique(at):
            found = number(curve.recall[i], 3)
            roc_rows.append((action, number(curve.false_positive_rate[i], 3), found))
            precision_rows.append((action, found, number(curve.precision[i], 3)))
    return [
        picture(roc, f"ROC of {names}.", table(("head", "negatives", "positives"), roc_rows)),
        picture(
            precision,
            f"Average precision: {averages}.",
            table(("head", "recall", "precision"), precision_rows),
        ),
    ]


def _few(positives: int) -> str:
    return ", too few to read much into it" if positives < FEW_POSITIVES else ""
