"""Columns of candidates are what protobuf's own attributes say, whatever the candidates hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix.serving import candidate_columns as module
from phoenix.serving.candidate_columns import candidate_columns, columns_of, retrieved_bytes
from protos import phoenix_pb2 as pb

ids = st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.sampled_from([2**56, 2**63])
small = st.integers(0, 2**32 - 1)
candidates = st.builds(
    pb.CandidatePost, post_id=ids, author_id=ids, video_duration_ms=small | st.just(0)
)


requests = st.builds(
    pb.PredictNextActionsRequest,
    request_id=st.text(max_size=200),
    sequence=st.none() | st.builds(pb.UserActionSequence, user_id=ids),
    candidates=st.lists(candidates, max_size=40),
    product_surface=st.integers(0, 2),
    now_ms=st.integers(-(2**63), 2**63 - 1),
)


@given(requests)
def test_any_candidates_are_read(request):
    columns = candidate_columns(request)
    assert columns.dtype == np.uint64
    assert columns.tolist() == columns_of(request.candidates).tolist()


@pytest.mark.parametrize("unknown", [b"\x20\x07", b"\x2a\x03abc", b"\x2a\x02\x08\x63", b"\x35abcd"])
def test_fields_that_newer_clients_send_are_left_aside(unknown):
    """Their bytes must not be taken for ids of posts."""
    odd = pb.CandidatePost.FromString(b"\x08\x05" + unknown)
    posts = [pb.CandidatePost(post_id=1), odd, pb.CandidatePost(post_id=2, author_id=3)]
    for order in (posts, posts[::-1], [odd]):
        request = pb.PredictNextActionsRequest(candidates=order, now_ms=7)
        assert candidate_columns(request).tolist() == columns_of(order).tolist()


def test_common_requests_take_the_short_way(monkeypatch):
    """Else every request would cost five times as much, and no test would notice."""
    posts = [pb.CandidatePost(post_id=i << 40, author_id=i, video_duration_ms=i) for i in range(9)]
    actions = [pb.AggregatedAction(post_id=1 << 60, dwell_seconds=2.5)] * 50
    request = pb.PredictNextActionsRequest(
        request_id="r" * 200,
        sequence=pb.UserActionSequence(user_id=1, actions=actions),
        candidates=posts,
        product_surface=1,
        now_ms=1 << 40,
    )
    expected = columns_of(posts).tolist()
    monkeypatch.setattr(module, "columns_of", None)
    assert candidate_columns(request).tolist() == expected


@pytest.mark.parametrize("count", [0, 1, 1_000])
def test_retrieved_posts_are_those_of_messages(count):
    rng = np.random.default_rng(count)
    post_ids = rng.integers(0, 2**64, count, np.uint64)
    author_ids = rng.integers(0, 2**20, count).astype(np.uint64)
    scores = rng.normal(size=count).astype(np.float32)
    scores[:1] = 0
    response = pb.RetrieveResponse(index_size=5)
    response.MergeFromString(retrieved_bytes(post_ids, author_ids, scores))
    columns = zip(post_ids.tolist(), author_ids.tolist(), scores.tolist(), strict=True)
    posts = [pb.RetrievedPost(post_id=p, author_id=a, score=s) for p, a, s in columns]
    assert response == pb.RetrieveResponse(posts=posts, index_size=5)
