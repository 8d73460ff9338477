"""Writes one event with everything that was served to topic ``foryou.served``.

Scores, positions and log-probabilities are what training joins with the actions that follow. The
order is a function of the scores, so the propensity of every post is 1. A head that no model gave
is NaN. Of one feed in ``features_every``, chosen by its request id, the event also holds what the
ranker was given, so that ``foryou eval skew`` can score it again.
"""

from __future__ import annotations

import zlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import SideEffect
from candidate_pipeline.result import PipelineResult
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.phoenix_messages import product_surface
from home_mixer.columns import HEAD_COLUMNS, YES
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.head_columns import DWELL_TIME_COLUMN
from home_mixer.scorers.phoenix_scorer import scored_ids
from protos import events_pb2
from service_kit.action_list import ACTION_INDEX, CONTINUOUS_ACTIONS
from service_kit.event_log import TOPIC_SERVED, EventSink, event_key

PROPENSITY = 1.0  # the policy is deterministic


class Predictions(Protocol):
    """What is known of recent predictions, by their prediction_request_id."""

    def model_version(self, prediction_request_id: int) -> str: ...
    def context_at_ms(self, prediction_request_id: int) -> int: ...


class ServedCandidatesEventSideEffect(SideEffect[ScoredPostsQuery]):
    def __init__(
        self, sink: EventSink, predictions: Predictions, budget_ms: float, features_every: int
    ) -> None:
        """``features_every``: 1 keeps the features of every feed, 0 of none."""
        self._sink = sink
        self._predictions = predictions
        self._features_every = features_every
        self.budget_ms = budget_ms

    def enable(self, query: ScoredPostsQuery) -> bool:
        return query.leaves_traces

    async def run(self, query: ScoredPostsQuery, result: PipelineResult[ScoredPostsQuery]) -> None:
        if len(result.selected) == 0:
            return
        event = served_event(query, result.selected, self._predictions)
        if is_sampled(query.request_id, self._features_every):
            features = served_features(query, result.selected, self._predictions)
            if features is not None:
                event.features.CopyFrom(features)
        key = event_key(query.viewer_id)
        await self._sink.append(TOPIC_SERVED, key, event.SerializeToString(), query.now_ms)


def served_event(
    query: ScoredPostsQuery, served: CandidateTable, predictions: Predictions
) -> events_pb2.ServedEvent:
    """The event of one response."""
    log_probs = log_probabilities(served)
    dwell = np.nan_to_num(served[DWELL_TIME_COLUMN])
    rows = zip(
        served["post_id"].tolist(),
        served["author_id"].tolist(),
        served["score"].tolist(),
        (served["in_network"] == YES).tolist(),
        log_probs.tolist(),
        np.logical_or.reduce(np.isfinite(log_probs), axis=1).tolist(),
        dwell.tolist(),
        strict=True,
    )
    posts = [
        events_pb2.ServedPost(
            post_id=post_id,
            author_id=author_id,
            score=score,
            position=position,
            in_network=in_network,
            propensity=PROPENSITY,
            log_probs=heads if known else (),
            dwell_seconds=seconds,
        )
        for position, (post_id, author_id, score, in_network, heads, known, seconds) in enumerate(
            rows
        )
    ]
    return events_pb2.ServedEvent(
        viewer_id=query.viewer_id,
        request_id=query.request_id,
        served_at_ms=query.now_ms,
        product_surface=product_surface(query),
        posts=posts,
        model_version=predictions.model_version(int(served["prediction_request_id"][0])),
        params_hash=query.params.params_hash,
    )


def is_sampled(request_id: str, every: int) -> bool:
    """Whether one feed in ``every`` is this one: the same on every replica, and no state."""
    return every > 0 and zlib.crc32(request_id.encode()) % every == 0


def served_features(
    query: ScoredPostsQuery, served: CandidateTable, predictions: Predictions
) -> events_pb2.ServedFeatures | None:
    """What the ranker was given; None where it did not score all of this by one model at once."""
    ids = [int(number) for number in np.unique(served["prediction_request_id"])]
    models = {(predictions.model_version(at), predictions.context_at_ms(at)) for at in ids}
    version, context_at_ms = models.pop()
    if models or not version or not context_at_ms:
        return None
    history = query.action_sequence.last(query.params.scoring_sequence_length)
    post_ids, author_ids = scored_ids(served)
    return events_pb2.ServedFeatures(
        context_at_ms=context_at_ms,
        history_post_ids=history.post_ids.tolist(),
        history_author_ids=history.author_ids.tolist(),
        history_ago_ms=(query.now_ms - history.acted_at_ms).tolist(),
        history_action_bits=history.action_bits.tolist(),
        history_dwell_seconds=history.dwell_seconds.tolist(),
        history_surfaces=history.product_surface.tolist(),
        scored_post_ids=post_ids.tolist(),
        scored_author_ids=author_ids.tolist(),
        scored_video_duration_ms=served["video_duration_ms"].tolist(),
    )


def log_probabilities(table: CandidateTable) -> NDArray[np.float64]:
    """[N, 25]: natural logarithm of each head's probability; NaN where there is none."""
    heads = np.stack([table[name] for name in HEAD_COLUMNS], axis=1)
    heads[:, [ACTION_INDEX[name] for name in CONTINUOUS_ACTIONS]] = np.nan
    with np.errstate(divide="ignore"):
        logs: NDArray[np.float64] = np.log(heads)
    return logs
