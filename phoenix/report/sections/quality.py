"""How good the predictions are: every head's metrics, beside the baselines of the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from phoenix import metrics
from phoenix.evaluation.reliability import CalibrationError, calibration_error
from phoenix.report import pictures, statistics
from phoenix.report.comparison import (
    ERROR_SUFFIX,
    MEASURES,
    Comparison,
    action_rows,
    comparisons,
    label_of,
    rows_of,
)
from phoenix.report.facts import ModelFacts
from phoenix.report.files import number as number_of
from phoenix.report.html import Section, grid, heading, paragraph, picture, table
from phoenix.report.judged import MAKE_ONE, Judged
from phoenix.report.wording import count, estimate, number

HEADER = (
    "head", "positives", "share", "mean prediction", "AUC ± s.e.", "GAUC ± s.e.", "log loss",
    "calibration error ± s.e.", "by chance",
)  # fmt: skip
BEFORE = "before calibration"
TEXT = (
    "AUC: does a row with the action score above one without, over all rows. GAUC: the same within "
    "one viewer, weighted by the viewer's positives; it alone says whether the order of a feed is "
    "right. Calibration error: mean distance between predicted and observed shares, in bins of "
    "equal size. By chance: what perfect probabilities would show on as many rows. ±: one "
    "standard error."
)


class Head(NamedTuple):
    """The metrics of one action; nan where one label only is there."""

    action: str
    positives: int
    share: float
    predicted: float
    auc: metrics.Estimate
    gauc: metrics.Estimate
    log_loss: float
    error: CalibrationError
    error_before: float


def quality(judged: Judged | None) -> Section:
    """The table of heads, and one picture for each measure that baselines share."""
    anchor, title = "quality", "Quality"
    if judged is None:
        return Section(anchor, title, missing=(f"No figures of quality: {MAKE_ONE}.",))
    rows = [_row(head, judged) for head in heads(judged)]
    viewers = count(len(np.unique(judged.rows.viewer_ids)))
    body = [
        paragraph(judged.origin),
        table(
            (*HEADER, BEFORE) if judged.is_calibrated else HEADER,
            rows,
            caption=f"{count(len(judged))} rows of {viewers} viewers",
        ),
        paragraph(TEXT),
    ]
    found = comparisons(judged.result)
    if found:
        body += [heading("Beside the baselines of the same run"), grid(map(_picture, found))]
        body += [*_baselines(judged.result)]
    return Section(anchor, title, "\n".join(body), () if found else (NO_BASELINES,))


NO_BASELINES = (
    "No baselines: the rows were judged without any. foryou eval kuairand measures popularity, "
    "rates, a factorisation machine and boosted trees on the same rows."
)


def ranked(model: ModelFacts, result: Mapping[str, Any]) -> Section:
    """A model that orders posts and gives no probabilities: the tables of its evaluation."""
    anchor, title = "quality", "Quality"
    found = comparisons(result)
    if not found:
        return Section(anchor, title, missing=(NO_TABLES,))
    body = [paragraph(NO_PROBABILITIES.format(kind=model.kind)), _whole_table(found)]
    return Section(anchor, title, "\n".join([*body, grid(map(_picture, found))]))


NO_TABLES = (
    "No figures of quality: foryou eval sequential --data FILE --checkpoint DIR trains a "
    "sequential recommender and leaves its tables beside it; for the towers of the feed there is "
    "no evaluation yet that leaves one."
)
NO_PROBABILITIES = (
    "A {kind} model orders posts and gives no probabilities, so there is nothing to calibrate. ±: "
    "the standard deviation over seeds, where there are several."
)


def _whole_table(found: Sequence[Comparison]) -> str:
    names = dict.fromkeys(line for one in found for line in one.values)
    rows = [
        (line, *(estimate(one.values.get(line), one.errors.get(line)) for one in found))
        for line in names
    ]
    return table(("", *(one.measure for one in found)), rows, own=found[0].own)


def heads(judged: Judged) -> list[Head]:
    """Every action whose outcomes are known, in the model's order."""
    return [head_of(judged, action) for action in judged.actions]


def head_of(judged: Judged, action: str) -> Head:
    labels, served = judged.labels(action), judged.served(action)
    return Head(
        action=action,
        positives=int(labels.sum()),
        share=float(labels.mean()),
        predicted=float(served.mean()),
        auc=metrics.auc_estimate(labels, served),
        gauc=metrics.gauc_estimate(judged.rows.viewer_ids, labels, served),
        log_loss=metrics.log_loss(labels, served),
        error=calibration_error(judged.rows.viewer_ids, labels, served),
        error_before=statistics.reliability(labels, judged.raw(action)).error,
    )


def _baselines(result: Mapping[str, Any]) -> Iterator[str]:
    """By how much ours is above each, and every measure of every action."""
    rows = rows_of(result)
    above = [(label_of(row), row["ours_above"]) for row in rows if row.get("ours_above")]
    if above:
        cells = [(n, estimate(number_of(v, "value"), number_of(v, "stderr"))) for n, v in above]
        yield table(("ours is above", "primary by ± s.e."), cells, caption=ABOVE)
    measured = list(action_rows(rows))
    if measured:
        yield heading("Every action and every predictor")
        header = ("action: predictor", *(f"{title} ± s.e." for title in MEASURES.values()))
        lines = [(f"{a}: {n}", *(_measure(m, k) for k in MEASURES)) for a, n, m in measured]
        yield table(header, lines)


ABOVE = "Paired over the same draws of viewers: above 0 by twice the error is more than chance."


def _measure(values: Mapping[str, Any], name: str) -> str:
    return estimate(number_of(values, name), number_of(values, name + ERROR_SUFFIX))


def _row(head: Head, judged: Judged) -> tuple[str, ...]:
    before = (number(head.error_before),) if judged.is_calibrated else ()
    return (
        head.action, count(head.positives), number(head.share), number(head.predicted),
        estimate(*head.auc), estimate(*head.gauc), number(head.log_loss),
        estimate(head.error.value, head.error.stderr), number(head.error.chance), *before,
    )  # fmt: skip


def _picture(found: Comparison) -> str:
    best = max(found.values, key=lambda line: found.values[line])
    text = f"{found.title}: " + "; ".join(
        f"{line} {estimate(value, found.errors.get(line), 4)}"
        for line, value in found.values.items()
    )
    svg = pictures.dots(
        found.title, found.title, found.values, found.errors, found.measure, text, found.own
    )
    rows = [(line, estimate(value, found.errors.get(line))) for line, value in found.values.items()]
    bars = " Bars: 95 % intervals." if found.errors else ""
    caption = f"{found.title}; highest: {best}.{bars}"
    return picture(svg, caption, table(("", found.measure), rows, own=found.own))
