"""The ranker must be asked for the same candidates as by message objects, to the last bit."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from home_mixer.clients.candidate_messages import UINT32_MAX, candidate_bytes
from protos import phoenix_pb2

ids = st.one_of(st.integers(0, 200), st.integers(0, 2**64 - 1), st.just(2**64 - 1))
lengths = st.one_of(st.integers(0, 200), st.integers(0, UINT32_MAX))


def encoded(rows):
    columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
    return candidate_bytes(
        np.array(columns[0], np.uint64),
        np.array(columns[1], np.uint64),
        np.array(columns[2], np.int64),
    )


@given(st.lists(st.tuples(ids, ids, lengths), max_size=20))
def test_equals_message_objects(rows):
    expected = phoenix_pb2.PredictNextActionsRequest(
        candidates=[
            phoenix_pb2.CandidatePost(post_id=post, author_id=author, video_duration_ms=video)
            for post, author, video in rows
        ],
        now_ms=7,
    )
    request = phoenix_pb2.PredictNextActionsRequest(now_ms=7)
    request.MergeFromString(encoded(rows))
    assert request == expected
    assert request.SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize("video_ms", [-1, UINT32_MAX + 1])
def test_a_duration_that_does_not_fit_is_refused(video_ms):
    with pytest.raises(ValueError, match="video_duration_ms"):
        encoded([(1, 1, 5), (2, 2, video_ms)])
