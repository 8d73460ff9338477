"""Writes one event with everything that was served to topic ``foryou.served``.

Scores, positions and log-probabilities are what training joins with the actions that follow. The
order is a function of the scores, so the propensity of every post is 1. A head that no model gave
is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import SideEffect
from candidate_pipeline.result import PipelineResult
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.phoenix_messages import product_surface
from home_mixer.columns import HEAD_COLUMNS, YES
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.head_columns import DWELL_TIME_COLUMN
from protos import events_pb2
from service_kit.action_list import ACTION_INDEX, CONTINUOUS_ACTIONS
from service_kit.event_log import TOPIC_SERVED, EventSink, event_key

PROPENSITY = 1.0  # the policy is deterministic

ModelVersion = Callable[[int], str]  # of a prediction_request_id


class ServedCandidatesEventSideEffect(SideEffect[ScoredPostsQuery]):
    def __init__(self, sink: EventSink, model_version: ModelVersion, budget_ms: float) -> None:
        self._sink = sink
        self._model_version = model_version
        self.budget_ms = budget_ms

    def enable(self, query: ScoredPostsQuery) -> bool:
        return query.leaves_traces

    async def run(self, query: ScoredPostsQuery, result: PipelineResult[ScoredPostsQuery]) -> None:
        if len(result.selected) == 0:
            return
        event = served_event(query, result.selected, self._model_version)
        key = event_key(query.viewer_id)
        await self._sink.append(TOPIC_SERVED, key, event.SerializeToString(), query.now_ms)


def served_event(
    query: ScoredPostsQuery, served: CandidateTable, model_version: ModelVersion
) -> events_pb2.ServedEvent:
    """The event of one response."""
    log_probs = log_probabilities(served)
    dwell = np.nan_to_num(served[DWELL_TIME_COLUMN])
    posts = [
        events_pb2.ServedPost(
            post_id=int(served["post_id"][row]),
            author_id=int(served["author_id"][row]),
            score=float(served["score"][row]),
            position=row,
            in_network=bool(served["in_network"][row] == YES),
            propensity=PROPENSITY,
            log_probs=log_probs[row].tolist() if np.isfinite(log_probs[row]).any() else (),
            dwell_seconds=float(dwell[row]),
        )
        for row in range(len(served))
    ]
    return events_pb2.ServedEvent(
        viewer_id=query.viewer_id,
        request_id=query.request_id,
        served_at_ms=query.now_ms,
        product_surface=product_surface(query),
        posts=posts,
        model_version=model_version(int(served["prediction_request_id"][0])),
        params_hash=query.params.params_hash,
    )


def log_probabilities(table: CandidateTable) -> NDArray[np.float64]:
    """[N, 25]: natural logarithm of each head's probability; NaN where there is none."""
    heads = np.stack([table[name] for name in HEAD_COLUMNS], axis=1)
    heads[:, [ACTION_INDEX[name] for name in CONTINUOUS_ACTIONS]] = np.nan
    with np.errstate(divide="ignore"):
        logs: NDArray[np.float64] = np.log(heads)
    return logs
