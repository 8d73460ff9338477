"""What retrieval is asked, and what becomes of its answer."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from candidate_pipeline.errors import Degraded
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.phoenix_messages import SequenceMessages
from home_mixer.columns import SCHEMA, SERVED_PHOENIX_RETRIEVAL
from home_mixer.query import ActionSequence
from home_mixer.sources.phoenix_source import PhoenixSource, retrieve_request
from protos import phoenix_pb2

Answer = phoenix_pb2.RetrieveResponse


def sequence(count: int) -> ActionSequence:
    at = np.arange(1, count + 1)
    return ActionSequence(
        post_ids=at.astype(np.uint64),
        author_ids=(at + 100).astype(np.uint64),
        acted_at_ms=at.astype(np.int64),
        action_bits=np.full(count, 0b101, np.uint32),
        dwell_seconds=np.full(count, 1.5, np.float32),
        product_surface=np.full(count, 1, np.int8),
    )


async def test_results_become_candidates(fake_method: Any, make_query: Any) -> None:
    posts = [phoenix_pb2.RetrievedPost(post_id=n, author_id=n + 1, score=0.5) for n in (10, 20)]
    source = PhoenixSource(fake_method(Answer(posts=posts).SerializeToString()), 100.0)
    table = CandidateTable.from_columns(SCHEMA, await source.fetch(make_query()))
    assert table["post_id"].tolist() == [10, 20]
    assert table["author_id"].tolist() == [11, 21]
    assert set(table["served_type"].tolist()) == {SERVED_PHOENIX_RETRIEVAL}


def test_retrieval_leaves_out_what_could_not_be_shown(make_query: Any) -> None:
    query = make_query(
        seen_ids=[3],
        served_ids=[2],
        served_history_ids=[1, 2],
        blocked_user_ids=[7],
        muted_user_ids=[5],
        action_sequence=sequence(2_000),
    )
    request = retrieve_request(query, SequenceMessages())
    assert list(request.exclude_post_ids) == [1, 2, 3]
    assert list(request.exclude_author_ids) == [5, 7]
    assert (request.exclude_history, request.exclude_own) == (True, True)
    assert request.max_results == 1_000
    assert request.now_ms == query.now_ms
    assert query.now_ms - request.posts_after_ms == 48 * 3_600_000 + 1
    assert request.sequence.user_id == 1
    assert len(request.sequence.actions) == 1_024  # the newest
    newest = request.sequence.actions[-1]
    assert (newest.post_id, newest.author_id, newest.acted_at_ms) == (2_000, 2_100, 2_000)
    assert list(newest.actions) == [1, 3]
    assert newest.dwell_seconds == 1.5


async def test_an_outage_has_its_reason(fake_method: Any, make_query: Any) -> None:
    source = PhoenixSource(fake_method(grpc.StatusCode.FAILED_PRECONDITION), 100.0)
    with pytest.raises(Degraded, match="failed_precondition"):
        await source.fetch(make_query())


async def test_what_is_no_answer_is_an_outage(fake_method: Any, make_query: Any) -> None:
    source = PhoenixSource(fake_method(b"\x0a\x05no"), 100.0)
    with pytest.raises(Degraded, match="malformed"):
        await source.fetch(make_query())


def test_a_following_feed_asks_nobody_else(fake_method: Any, make_query: Any) -> None:
    source = PhoenixSource(fake_method(), 100.0)
    assert source.enable(make_query(user_features_age_ms=0))
    assert not source.enable(make_query(user_features_age_ms=0, in_network_only=True))
    assert not source.enable(make_query(user_features_age_ms=-1))


def test_a_sequence_is_built_once_a_request_and_length(make_query: Any) -> None:
    sequences = SequenceMessages(remembered_max=2)
    query = make_query(request_id="a", action_sequence=sequence(5))
    first = sequences.of(query, 3)
    assert sequences.of(query, 3) is first
    assert [action.post_id for action in sequences.of(query, 2).actions] == [4, 5]
    assert sequences.of(query, 5) is not first
    another = make_query(request_id="b", action_sequence=sequence(1))
    assert len(sequences.of(another, 3).actions) == 1
    assert sequences.of(query, 3) is not first  # forgotten, and built again
    assert sequences.of(query, 3) == first
