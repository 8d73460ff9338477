"""Judges a ranker on impressions of an own log, in the form of `phoenix.evaluation.kept`.

The rows are those from a moment on, or the last share by time; every history is what was known
strictly before its row. Whether the model was trained on these rows is found out by the digest of
its training data, and said.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix.data.ages import post_ages_seconds
from phoenix.data.impressions import Impressions
from phoenix.evaluation.kept import Evaluated
from phoenix.evaluation.kuairand_kept import known_events
from phoenix.report.facts import ModelFacts
from phoenix.report.files import ReportError
from phoenix.report.judged import RANKER, Judged
from phoenix.report.wording import count, moment

LAST_SHARE = 0.1  # of the rows by time, where no moment is given
ROWS_MAX = 20_000  # enough for errors below 0.01 of AUC, and for a minute on two cores


def judge(
    model: ModelFacts,
    impressions: Impressions,
    from_ms: int | None = None,
    before: Impressions | None = None,
    rows_max: int = ROWS_MAX,
) -> Judged:
    """Predicts and compares; more than `rows_max` rows are thinned evenly.

    `before`: what the log would give a training that ends at `from_ms`; where the model's digest is
    of it, the rows are proven unseen. ReportError: not a ranker, or no row to judge.
    """
    if model.kind != RANKER:
        raise ReportError(
            f"{model.path} is a {model.kind} model: rows of a log judge rankers alone; leave "
            "--data-dir and --parquet out"
        )
    start = from_ms if from_ms is not None else _last_share(impressions)
    asked = np.flatnonzero((impressions.weight > 0) & (impressions.impressed_at_ms >= start))
    if len(asked) == 0:
        raise ReportError(
            f"no impression with a known outcome at or after {moment(start)}: name an earlier "
            "moment with --from-ms, or another log"
        )
    thinned = asked[:: -(-len(asked) // rows_max)]
    known = [_trained_on(model, data) for data in (impressions, before)]
    origin = (
        f"{count(len(thinned))} of the {count(len(asked))} impressions with a known outcome from "
        f"{moment(start)} on. {_seen(*known)}"
    )
    return Judged(_evaluated(model.path, impressions, thinned), {}, origin)


def _last_share(impressions: Impressions) -> int:
    times = impressions.impressed_at_ms[impressions.weight > 0]
    return int(np.quantile(times, 1.0 - LAST_SHARE)) if len(times) else 0


def _trained_on(model: ModelFacts, data: Impressions | None) -> bool:
    from phoenix.training import data_digest

    return data is not None and model.meta.get("data_sha256") == data_digest(data)


def _seen(all_rows: bool, rows_before: bool) -> str:
    """What is known of these rows' part in the training."""
    if rows_before:
        return "The model was trained on the log up to that moment: it has seen none of them."
    if all_rows:
        return (
            "The model was trained on these very rows, so the figures flatter it: to measure on "
            "unseen rows, train with --until-ms T and report with --from-ms T."
        )
    return (
        "Whether the model was trained on them is not known: its training data has another digest. "
        "Train with --until-ms T and report with --from-ms T to be sure."
    )


def _evaluated(path: Path, impressions: Impressions, asked: NDArray[np.int64]) -> Evaluated:
    from phoenix.checkpoint import load_ranker
    from phoenix.evaluation.predict import predict_rows

    rows = impressions.take(asked)
    # What is history of `rows` is in `impressions` already.
    silent = rows.replace(in_history=np.zeros(len(rows), dtype=np.bool_))
    raw = predict_rows(path, impressions, silent, calibrated=False)
    served = load_ranker(path)[1].calibration.probabilities(impressions.action_names, raw)
    return Evaluated(
        action_names=impressions.action_names,
        viewer_ids=rows.viewer_ids,
        post_ids=rows.post_ids,
        time_ms=rows.impressed_at_ms,
        history_count=known_events(impressions, rows.viewer_ids, rows.impressed_at_ms),
        post_age_seconds=_ages(rows),
        labels={
            name: rows.column(name) > 0
            for index, name in enumerate(rows.action_names)
            if rows.labels_known[:, index].all()  # what was not recorded is no refusal
        },
        probabilities=served,
        raw=raw,
    )


def _ages(rows: Impressions) -> NDArray[np.float64]:
    """Seconds [N] from a post's creation to its impression, nan where the id does not say."""
    ages = post_ages_seconds(rows.post_ids, rows.impressed_at_ms).astype(np.float64)
    return np.where(ages >= 0, ages, np.nan)
