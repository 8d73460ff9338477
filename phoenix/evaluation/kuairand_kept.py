"""The rows that a KuaiRand evaluation keeps: predictions beside what a report splits them by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix.data.impressions import Impressions
from phoenix.evaluation.kept import Evaluated
from phoenix.evaluation.kuairand_data import ACTIONS, Rows
from phoenix.evaluation.kuairand_statics import Statics, padded

TIME_BITS = 44  # a time in ms fits until the year 2527


def evaluated_rows(
    history: Impressions,
    test: Rows,
    statics: Statics,
    probabilities: NDArray[np.float64],
    raw: NDArray[np.float64],
) -> Evaluated:
    """`history`: everything that may stand in a test row's history. Arrays [N, A] as in ACTIONS."""
    uploaded = padded(statics.uploaded_at_ms, statics.videos(test.video_ids))
    age = np.maximum((test.time_ms - uploaded) / 1000.0, 0.0)
    return Evaluated(
        action_names=tuple(ACTIONS),
        viewer_ids=test.user_ids,
        post_ids=test.video_ids,
        time_ms=test.time_ms,
        history_count=known_events(history, test.user_ids + 1, test.time_ms),
        post_age_seconds=age,
        labels=test.outcomes,
        probabilities=probabilities,
        raw=raw,
    )


def known_events(
    history: Impressions, viewer_ids: NDArray[np.int64], time_ms: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many history events of each viewer [N] were known before each time [N]."""
    events = history.take(history.in_history)
    _, index = np.unique(np.concatenate([events.viewer_ids, viewer_ids]), return_inverse=True)
    known = np.sort((index[: len(events)] << TIME_BITS) + np.maximum(events.known_at_ms, 0))
    viewer = index[len(events) :] << TIME_BITS
    before: NDArray[np.int64] = np.searchsorted(known, viewer + time_ms, side="left")
    return before - np.searchsorted(known, viewer, side="left")
