"""What the ranker is asked, and that its answer lands in the right rows and columns."""

from __future__ import annotations

import math
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from candidate_pipeline.errors import Degraded
from home_mixer.params import load_params
from home_mixer.scorers.phoenix_scorer import PREDICTIONS_REMEMBERED, PhoenixScorer
from protos import actions_pb2, phoenix_pb2
from service_kit.clock import ManualClock

REPLY, LIKE = actions_pb2.ACTION_REPLY, actions_pb2.ACTION_FAVORITE


class Ranker:
    """P(reply) = 0.5, P(like) = 1 / post id, dwell = post id seconds."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.models = ["m"]
        self.code: grpc.StatusCode | None = None

    async def __call__(self, message: bytes, **_: Any) -> Any:
        request = phoenix_pb2.PredictNextActionsRequest.FromString(message)
        self.requests.append(request)
        if self.code is not None:
            empty = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(self.code, empty, empty, "down")
        ids = [candidate.post_id for candidate in request.candidates]
        rows = [[math.log(0.5), -math.log(post_id)] for post_id in ids]
        number = len(self.requests)
        return phoenix_pb2.PredictNextActionsResponse(
            actions=[REPLY, LIKE],
            log_probs=[value for row in rows for value in row],
            dwell_seconds=[float(post_id) for post_id in ids],
            model_version=self.models[min(number, len(self.models)) - 1],
            prediction_request_id=number,
        )


@pytest.fixture
def ranker() -> Ranker:
    return Ranker()


@pytest.fixture
def scorer(ranker: Ranker) -> PhoenixScorer:
    return PhoenixScorer(ranker, 100.0, ManualClock(now_ms=777))


async def test_heads_land_in_their_columns(
    scorer: PhoenixScorer, make_query: Any, make_table: Any
) -> None:
    columns = await scorer.score(make_query(), make_table({"post_id": 4}, {"post_id": 2}))
    assert columns["p_favorite"].tolist() == pytest.approx([0.25, 0.5])
    assert columns["p_reply"].tolist() == pytest.approx([0.5, 0.5])
    assert columns["p_dwell_time"].tolist() == [4.0, 2.0]
    assert columns["last_scored_at_ms"].tolist() == [777, 777]
    assert columns["prediction_request_id"].tolist() == [1, 1]
    assert "p_report" not in columns  # a head that the model does not have stays unknown
    assert scorer.model_version(1) == "m"


async def test_a_repost_is_scored_as_its_original(
    scorer: PhoenixScorer, ranker: Ranker, make_query: Any, make_table: Any
) -> None:
    table = make_table(
        {"post_id": 9, "author_id": 1, "reposted_post_id": 4, "reposted_user_id": 2},
        {"post_id": 8, "author_id": 3, "video_duration_ms": 5_000},
    )
    columns = await scorer.score(make_query(), table)
    asked = [(c.post_id, c.author_id, c.video_duration_ms) for c in ranker.requests[0].candidates]
    assert asked == [(4, 2, 0), (8, 3, 5_000)]
    assert columns["p_favorite"].tolist() == pytest.approx([1 / 4, 1 / 8])


async def test_chunks_cannot_be_seen_in_the_scores(
    scorer: PhoenixScorer, ranker: Ranker, make_query: Any, make_table: Any
) -> None:
    table = make_table(*({"post_id": n} for n in range(1, 8)))
    whole = await scorer.score(make_query(), table)
    chunked = load_params("x-2026-10", {"phoenix_max_candidates": 3})
    parts = await scorer.score(make_query(params=chunked), table)
    assert [len(request.candidates) for request in ranker.requests] == [7, 3, 3, 1]
    assert np.array_equal(whole["p_favorite"], parts["p_favorite"])
    assert parts["prediction_request_id"].tolist() == [2, 2, 2, 3, 3, 3, 4]


async def test_a_swap_of_models_between_two_chunks_is_said(
    scorer: PhoenixScorer, ranker: Ranker, make_query: Any, make_table: Any
) -> None:
    ranker.models = ["m", "n"]
    chunked = load_params("x-2026-10", {"phoenix_max_candidates": 1})
    with pytest.raises(Degraded, match="mixed_models") as caught:
        await scorer.score(make_query(params=chunked), make_table({"post_id": 1}, {"post_id": 2}))
    assert caught.value.output is not None


async def test_an_id_that_no_model_takes_does_not_unrank_the_others(
    scorer: PhoenixScorer, ranker: Ranker, make_query: Any, make_table: Any
) -> None:
    table = make_table({"post_id": 9, "reposted_post_id": 2**64 - 1}, {"post_id": 4})
    with pytest.raises(Degraded, match="impossible_ids") as caught:
        await scorer.score(make_query(), table)
    assert [c.post_id for c in ranker.requests[0].candidates] == [4]
    columns: Any = caught.value.output
    assert columns["p_favorite"].tolist() == pytest.approx([math.nan, 0.25], nan_ok=True)
    assert columns["prediction_request_id"].tolist() == [0, 1]


async def test_impossible_ids_alone_ask_nothing_of_the_model(
    scorer: PhoenixScorer, ranker: Ranker, make_query: Any, make_table: Any
) -> None:
    with pytest.raises(Degraded, match="impossible_ids") as caught:
        await scorer.score(make_query(), make_table({"post_id": 2**63}))
    assert ranker.requests == []
    columns: Any = caught.value.output
    assert columns["last_scored_at_ms"].tolist() == [0]


async def test_following_feeds_are_another_surface(
    scorer: PhoenixScorer, ranker: Ranker, make_query: Any, make_table: Any
) -> None:
    await scorer.score(make_query(), make_table({"post_id": 1}))
    await scorer.score(make_query(in_network_only=True), make_table({"post_id": 1}))
    assert [request.product_surface for request in ranker.requests] == [
        actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKING,
        actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKED_FOLLOWING,
    ]


async def test_an_outage_has_its_reason(
    scorer: PhoenixScorer, ranker: Ranker, make_query: Any, make_table: Any
) -> None:
    ranker.code = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(Degraded, match="unavailable") as caught:
        await scorer.score(make_query(), make_table({"post_id": 1}))
    assert caught.value.output is None


async def test_an_answer_of_the_wrong_size_is_refused(make_query: Any, make_table: Any) -> None:
    async def short(request: Any, **_: Any) -> Any:
        return phoenix_pb2.PredictNextActionsResponse(actions=[1, 2], log_probs=[-1.0])

    scorer = PhoenixScorer(short, 100.0, ManualClock())
    with pytest.raises(ValueError, match="1 log-probabilities of 2 actions"):
        await scorer.score(make_query(), make_table({"post_id": 1}))


async def test_only_so_many_models_are_remembered(
    scorer: PhoenixScorer, make_query: Any, make_table: Any
) -> None:
    for _ in range(PREDICTIONS_REMEMBERED + 1):
        await scorer.score(make_query(), make_table({"post_id": 1}))
    assert scorer.model_version(1) == ""
    assert scorer.model_version(PREDICTIONS_REMEMBERED + 1) == "m"
