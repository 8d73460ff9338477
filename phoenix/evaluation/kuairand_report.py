"""Metrics of predictions for KuaiRand rows beside the baselines, as a dict and as a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix import metrics
from phoenix.data.impressions import Impressions
from phoenix.evaluation.baselines.rates import Rates
from phoenix.evaluation.kuairand_data import ACTIONS, HISTORY_COLUMNS, Rows

PRIMARY_ACTION = "long_view"
PRIMARY_LABELS = {
    "primary": "ours",
    "popularity_primary": "item popularity",
    "popularity_training_days_primary": "item popularity, training days only",
    "user_item_rate_primary": "user × item rate",
    "constant_primary": "no opinion (all equal)",
}


def measure(
    train: Rows, older: Impressions, test: Rows, probabilities: NDArray[np.float64]
) -> dict[str, Any]:
    """Everything that is reported; None where the test rows lack the outcome or one label.

    Baselines count the older part too where it knows the action: a harder bar than the training
    days alone, which stand beside it as `popularity_training_days_primary`.
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
        for index, name in enumerate(ACTIONS)
        if name in test.outcomes
    }
    return result


def rates(train: Rows, older: Impressions, name: str) -> Rates:
    """Rates of one action over all rows that may be learned from and know it."""
    users, videos, labels = train.user_ids, train.video_ids, train.outcomes[name]
    if name in HISTORY_COLUMNS:
        users = np.concatenate([older.viewer_ids - 1, users])
        videos = np.concatenate([older.post_ids - 1, videos])
        labels = np.concatenate([older.labels[:, list(ACTIONS).index(name)] > 0, labels])
    return Rates(users, videos, labels.astype(np.float32))


def format_table(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    protocol = result["protocol"]
    lines = [
        f"KuaiRand-Pure, tested on {protocol['test']}: {protocol['test_rows']:,} impressions of "
        f"{protocol['test_users']:,} users, trained on {protocol['training_rows']:,} and "
        f"{protocol['older_rows']:,} older ones, {protocol['steps']} steps in "
        f"{protocol['train_seconds']:.0f} s, "
        + (
            "histories grow with the test rows"
            if protocol["online"]
            else "no test row in histories"
        ),
        "",
        "long_view primary = (GAUC + nDCG@5) / 2",
        *(f"  {label:<38}{_number(result[name])}" for name, label in PRIMARY_LABELS.items()),
        "",
        f"{'action':<14}{'AUC':>8}{'± s.e.':>9}{'u×i AUC':>9}{'GAUC':>9}{'± s.e.':>9}"
        f"{'log loss':>10}{'positives':>11}",
    ]
    for name, row in result["actions"].items():
        lines.append(
            f"{name:<14}{_number(row['auc']):>8}{_number(row['auc_stderr']):>9}"
            f"{_number(row['user_item_auc']):>9}{_number(row['gauc']):>9}"
            f"{_number(row['gauc_stderr']):>9}{_number(row['log_loss'], 5):>10}"
            f"{row['positives']:>11,}"
        )
    return "\n".join(lines)


def _primary(
    users: NDArray[np.int64], labels: NDArray[np.bool_] | None, scores: NDArray[np.float64]
) -> float | None:
    return None if labels is None else _finite(metrics.primary(users, labels, scores))


def _action(
    test: Rows, name: str, probabilities: NDArray[np.float64], known: Rates
) -> dict[str, Any]:
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
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
