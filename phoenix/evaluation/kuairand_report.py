"""Metrics of predictions for KuaiRand rows beside the baselines, as a dict and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix import metrics
from phoenix.data.impressions import Impressions
from phoenix.evaluation.baselines.rates import Rates
from phoenix.evaluation.baselines.suite import Answers
from phoenix.evaluation.kuairand_data import ACTIONS, HISTORY_COLUMNS, Rows
from phoenix.evaluation.paired import compare_primary, log_loss_estimate
from phoenix.evaluation.reliability import CalibrationError, calibration_error

PRIMARY_ACTION = "long_view"
PRIMARY_LABELS = {
    "primary": "ours",
    "popularity_primary": "item popularity",
    "popularity_training_days_primary": "item popularity, training days only",
    "user_item_rate_primary": "user × item rate",
    "constant_primary": "no opinion (all equal)",
}
OURS = "model"
NAMES = {
    OURS: "ours",
    "lightgbm": "LightGBM",
    "fm": "factorisation machine",
    "user_item": "user × item rate",
    "popularity": "item popularity",
    "co_occurrence": "co-occurrence",
}

_Floats = NDArray[np.float64]


def measure(
    train: Rows,
    older: Impressions,
    test: Rows,
    probabilities: _Floats,
    *,
    raw: _Floats | None = None,
    baselines: Mapping[str, Answers] | None = None,
) -> dict[str, Any]:
    """Everything that is reported; None where the test rows lack the outcome or one label.

    `raw`: our probabilities before calibration. `baselines` [N, A] each, by name; popularity and
    the user × item rate are measured without them, too. Those two count the older part where it
    knows the action: a harder bar than the training days alone, which stand beside it as
    `popularity_training_days_primary`.
    """
    users, videos = test.user_ids, test.video_ids
    long_view = test.outcomes.get(PRIMARY_ACTION)
    known = rates(train, older, PRIMARY_ACTION)
    recent = rates(train, older.take(np.zeros(len(older), dtype=np.bool_)), PRIMARY_ACTION)
    scores = {
        "primary": probabilities[:, list(ACTIONS).index(PRIMARY_ACTION)],
        "popularity_primary": known.of_items(videos),
        "user_item_rate_primary": known.of_pairs(users, videos),
        "popularity_training_days_primary": recent.of_items(videos),
        "constant_primary": np.zeros(len(test)),
    }
    result: dict[str, Any] = {name: _primary(users, long_view, s) for name, s in scores.items()}
    result["actions"] = {
        name: _action(test, name, probabilities[:, index], rates(train, older, name))
        | _ours(test, name, index, probabilities, raw)
        for index, name in enumerate(ACTIONS)
        if name in test.outcomes
    }
    if baselines:
        result["rows"] = _rows(test, probabilities, baselines)
    return result


def rates(train: Rows, older: Impressions, name: str) -> Rates:
    """Rates of one action over all rows that may be learned from and know it."""
    users, videos, labels = train.user_ids, train.video_ids, train.outcomes[name]
    if name in HISTORY_COLUMNS:
        users = np.concatenate([older.viewer_ids - 1, users])
        videos = np.concatenate([older.post_ids - 1, videos])
        labels = np.concatenate([older.labels[:, list(ACTIONS).index(name)] > 0, labels])
    return Rates(users, videos, labels.astype(np.float32))


def _rows(
    test: Rows, probabilities: _Floats, baselines: Mapping[str, Answers]
) -> list[dict[str, Any]]:
    """A row a model: primary, its paired differences, and each action's measures with errors."""
    ours = Answers(probabilities, True, 0.0, {})
    models = {OURS: ours} | {name: baselines[name] for name in NAMES if name in baselines}
    rows = [{"name": name, "label": NAMES[name], **_primaries(name, test, models)}
            for name in models]  # fmt: skip
    for row in rows:
        answers = models[row["name"]]
        row["seconds"], row["chosen"] = answers.seconds, answers.details
        row["actions"] = {
            name: _row_action(test, name, answers, index)
            for index, name in enumerate(ACTIONS)
            if name in test.outcomes and not np.isnan(answers.scores[:, index]).any()
        }
    return rows


def _primaries(name: str, test: Rows, models: Mapping[str, Answers]) -> dict[str, Any]:
    """Of one model; `above` is by how much ours is above it, over the same draws of users."""
    if PRIMARY_ACTION not in test.outcomes:
        return {"primary": None}
    at = list(ACTIONS).index(PRIMARY_ACTION)
    scores = {n: models[n].scores[:, at] for n in (OURS, name)}
    if np.isnan(scores[name]).any():
        return {"primary": None}
    found = compare_primary(test.user_ids, test.outcomes[PRIMARY_ACTION], scores)
    row: dict[str, Any] = {
        "primary": _finite(found[name].value.value),
        "spread": {"primary": _finite(found[name].value.stderr)},
    }
    if name != OURS:
        above = found[OURS].above[name]
        row["ours_above"] = {"value": _finite(above.value), "stderr": _finite(above.stderr)}
    return row


def _row_action(test: Rows, name: str, answers: Answers, index: int) -> dict[str, Any]:
    labels, scores = test.outcomes[name], answers.scores[:, index]
    overall = metrics.auc_estimate(labels, scores)
    within = metrics.gauc_estimate(test.user_ids, labels, scores)
    row = {
        "auc": overall.value,
        "auc_stderr": overall.stderr,
        "gauc": within.value,
        "gauc_stderr": within.stderr,
    }
    if answers.are_probabilities:
        loss = log_loss_estimate(test.user_ids, labels, scores)
        error = calibration_error(test.user_ids, labels, scores)
        row |= {
            "log_loss": loss.value,
            "log_loss_stderr": loss.stderr,
            **_eces(error),
        }
    return {key: _finite(value) for key, value in row.items()}


def _ours(
    test: Rows, name: str, index: int, probabilities: _Floats, raw: _Floats | None
) -> dict[str, Any]:
    """Calibration of our head, before and after."""
    labels = test.outcomes[name]
    after = calibration_error(test.user_ids, labels, probabilities[:, index])
    loss = log_loss_estimate(test.user_ids, labels, probabilities[:, index])
    found = {
        "log_loss_stderr": loss.stderr,
        **_eces(after),
    }
    if raw is not None:
        before = calibration_error(test.user_ids, labels, raw[:, index])
        found["ece_uncalibrated"] = before.value
        found["log_loss_uncalibrated"] = metrics.log_loss(labels, raw[:, index])
    return {key: _finite(value) for key, value in found.items()}


def _eces(error: CalibrationError) -> dict[str, float]:
    """`ece` is that of bins of equal mass."""
    return {
        "ece": error.value,
        "ece_stderr": error.stderr,
        "ece_by_chance": error.chance,
        "ece_equal_width": error.equal_width,
        "ece_equal_width_by_chance": error.equal_width_chance,
    }


def _primary(
    users: NDArray[np.int64], labels: NDArray[np.bool_] | None, scores: _Floats
) -> float | None:
    return None if labels is None else _finite(metrics.primary(users, labels, scores))


def _action(test: Rows, name: str, probabilities: _Floats, known: Rates) -> dict[str, Any]:
    labels = test.outcomes[name]
    overall = metrics.auc_estimate(labels, probabilities)
    within = metrics.gauc_estimate(test.user_ids, labels, probabilities)
    pairs = known.of_pairs(test.user_ids, test.video_ids)
    return {
        "auc": _finite(overall.value),
        "auc_stderr": _finite(overall.stderr),
        "gauc": _finite(within.value),
        "gauc_stderr": _finite(within.stderr),
        "log_loss": _finite(metrics.log_loss(labels, probabilities)),
        "positives": int(labels.sum()),
        "user_item_auc": _finite(metrics.auc(labels, pairs)),
        "user_item_gauc": _finite(metrics.gauc(test.user_ids, labels, pairs)),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
