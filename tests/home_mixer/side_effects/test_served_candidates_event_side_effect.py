"""The served event holds what training joins with later actions."""

from __future__ import annotations

import math
from typing import Any

import pytest

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


async def test_scores_positions_and_log_probabilities(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    sink: Any = Sink()
    effect = ServedCandidatesEventSideEffect(sink, {3: "m-3"}.get, 100.0)  # type: ignore[arg-type]
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
    effect = ServedCandidatesEventSideEffect(sink, lambda _: "", 100.0)
    query = make_query()
    await effect.run(query, make_result(query, make_table()))
    assert sink.events == []
