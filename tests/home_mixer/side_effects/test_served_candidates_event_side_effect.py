"""The served event holds what training joins with later actions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from home_mixer.query import ActionSequence
from home_mixer.side_effects.served_candidates_event_side_effect import (
    ServedCandidatesEventSideEffect,
)
from protos import actions_pb2, events_pb2
from service_kit.event_log import TOPIC_SERVED, key_id


class Sink:
    def __init__(self) -> None:
        self.events: list[tuple[str, bytes, bytes, int]] = []

    async def append(self, topic: str, key: bytes, value: bytes, timestamp_ms: int) -> None:
        self.events.append((topic, key, value, timestamp_ms))


class Predictions:
    """Two predictions of one model, and one of another."""

    def model_version(self, prediction_request_id: int) -> str:
        return {3: "m-3", 4: "m-3", 5: "m-5"}.get(prediction_request_id, "")

    def context_at_ms(self, prediction_request_id: int) -> int:
        return 120_000 if prediction_request_id in (3, 4, 5) else 0


async def served_features(
    make_query: Any, make_result: Any, table: Any, every: int = 1, request_id: str = "9-7"
) -> events_pb2.ServedEvent:
    """The event of a viewer with two history events."""
    sink: Any = Sink()
    effect = ServedCandidatesEventSideEffect(sink, Predictions(), 100.0, every)
    history = ActionSequence(
        post_ids=np.array([31, 32], np.uint64),
        author_ids=np.array([5, 6], np.uint64),
        acted_at_ms=np.array([61_000, 90_000], np.int64),
        action_bits=np.array([1, 1 << 10], np.uint32),
        dwell_seconds=np.array([0.0, 7.5], np.float32),
        product_surface=np.array([1, 3], np.int8),
    )
    query = make_query(viewer_id=7, request_id=request_id, now_ms=100_000, action_sequence=history)
    await effect.run(query, make_result(query, table))
    return events_pb2.ServedEvent.FromString(sink.events[0][2])


async def test_the_event_holds_what_the_ranker_was_given(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    """Without it nobody could tell a wrong model from wrong inputs."""
    repost = {"reposted_post_id": 20, "reposted_user_id": 8}
    table = make_table(
        {"post_id": 10, "author_id": 5, "prediction_request_id": 3, **repost},
        {"post_id": 11, "author_id": 6, "prediction_request_id": 4, "video_duration_ms": 9_000},
    )
    features = (await served_features(make_query, make_result, table)).features
    assert features.context_at_ms == 120_000
    assert list(features.history_post_ids) == [31, 32]
    assert list(features.history_author_ids) == [5, 6]
    assert list(features.history_ago_ms) == [39_000, 10_000]
    assert list(features.history_action_bits) == [1, 1 << 10]
    assert list(features.history_dwell_seconds) == [0.0, 7.5]
    assert list(features.history_surfaces) == [1, 3]
    assert list(features.scored_post_ids) == [20, 11]
    assert list(features.scored_author_ids) == [8, 6]
    assert list(features.scored_video_duration_ms) == [0, 9_000]


async def test_features_of_two_models_or_of_none_are_not_kept(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    """They would be held against a model that did not score them all."""
    for other in (5, 0):
        table = make_table(
            {"post_id": 10, "prediction_request_id": 3},
            {"post_id": 11, "prediction_request_id": other},
        )
        event = await served_features(make_query, make_result, table)
        assert not event.HasField("features")


async def test_a_share_of_the_feeds_keeps_its_features(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    """All of them would make the topic several times as large."""
    table = make_table({"post_id": 10, "prediction_request_id": 3})
    kept = {0: 0, 4: 0}
    for every in kept:
        for number in range(200):
            event = await served_features(make_query, make_result, table, every, f"{number}-7")
            kept[every] += event.HasField("features")
    assert kept[0] == 0
    assert 25 <= kept[4] <= 75


async def test_scores_positions_and_log_probabilities(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    sink: Any = Sink()
    effect = ServedCandidatesEventSideEffect(sink, Predictions(), 100.0, 0)
    query = make_query(viewer_id=7, request_id="9-7", in_network_only=True)
    scored = {
        "post_id": 10,
        "author_id": 5,
        "score": 0.25,
        "in_network": 1,
        "p_favorite": 0.5,
        "p_report": 0.0,
        "p_dwell_time": 4.5,
        "prediction_request_id": 3,
    }
    await effect.run(query, make_result(query, make_table(scored, {"post_id": 11, "score": -1.5})))
    ((topic, key, value, timestamp_ms),) = sink.events
    assert (topic, key_id(key), timestamp_ms) == (TOPIC_SERVED, 7, query.now_ms)
    event = events_pb2.ServedEvent.FromString(value)
    assert (event.request_id, event.model_version) == ("9-7", "m-3")
    assert event.params_hash == query.params.params_hash
    assert event.product_surface == actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKED_FOLLOWING
    best, unscored = event.posts
    assert (best.post_id, best.author_id, best.position, best.in_network) == (10, 5, 0, True)
    assert (best.score, best.propensity, best.dwell_seconds) == (0.25, 1.0, 4.5)
    assert best.log_probs[actions_pb2.ACTION_FAVORITE - 1] == pytest.approx(math.log(0.5))
    assert best.log_probs[actions_pb2.ACTION_REPORT - 1] == -math.inf
    assert math.isnan(best.log_probs[actions_pb2.ACTION_REPLY - 1])
    assert math.isnan(best.log_probs[actions_pb2.ACTION_DWELL_TIME - 1])  # seconds, no probability
    assert (unscored.position, list(unscored.log_probs)) == (1, [])


async def test_an_empty_feed_is_no_event(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    sink: Any = Sink()
    effect = ServedCandidatesEventSideEffect(sink, Predictions(), 100.0, 1)
    query = make_query()
    await effect.run(query, make_result(query, make_table()))
    assert sink.events == []
