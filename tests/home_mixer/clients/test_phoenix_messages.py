"""Messages to and from phoenix are what protobuf's own writer and reader make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from home_mixer.clients import phoenix_messages
from home_mixer.clients.phoenix_messages import retrieved_ids, sequence_message
from home_mixer.query import ActionSequence
from protos import actions_pb2, phoenix_pb2

Response = phoenix_pb2.RetrieveResponse

ids = st.integers(0, 300) | st.integers(0, 2**64 - 1) | st.sampled_from([2**56, 2**63])
scores = st.floats(-1, 1, width=32)
posts = st.fixed_dictionaries({}, optional={"post_id": ids, "author_id": ids, "score": scores})


@dataclass
class Viewer:
    """What `sequence_message` looks at of a query."""

    viewer_id: int
    action_sequence: ActionSequence


def same_as_protobuf(message: bytes) -> None:
    try:
        expected = Response.FromString(message)
    except DecodeError:
        with pytest.raises(DecodeError):
            retrieved_ids(message)
        return
    post_ids, author_ids = retrieved_ids(message)
    assert post_ids.tolist() == [post.post_id for post in expected.posts]
    assert author_ids.tolist() == [post.author_id for post in expected.posts]


@given(st.lists(posts, max_size=30), st.text(max_size=5), st.integers(0, 2**64 - 1))
def test_any_answer_is_read(found: Any, version: str, size: int) -> None:
    response = Response(posts=found, model_version=version, index_size=size)
    same_as_protobuf(response.SerializeToString())


def test_what_phoenix_sends_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of 1,000 posts read object by object would cost a feed a third of a millisecond."""
    found = [
        phoenix_pb2.RetrievedPost(post_id=2**60 + i, author_id=i + 1, score=i / 1_000)
        for i in range(1_000)
    ]
    message = Response(posts=found, model_version="v", index_size=7).SerializeToString()
    monkeypatch.setattr(phoenix_messages, "_decode_objects", None)
    post_ids, author_ids = retrieved_ids(message)
    assert post_ids.tolist() == [2**60 + i for i in range(1_000)]
    assert author_ids.tolist() == [i + 1 for i in range(1_000)]


@given(st.lists(posts, max_size=5), st.data())
@example([], None)
def test_damaged_bytes_are_refused_or_read_as_protobuf_would(found: Any, data: Any) -> None:
    damaged = bytearray(Response(posts=found, model_version="v").SerializeToString())
    if data is None or not damaged:
        return
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=3)):
        damaged[at] = data.draw(st.integers(0, 255))
    same_as_protobuf(bytes(damaged))
    same_as_protobuf(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    same_as_protobuf(bytes(damaged) * 2)


@pytest.mark.parametrize(
    "message",
    [
        b"\x12\x01v\x0a\x02\x08\x05",  # the version, then a post
        b"\x0a\x02\x08\x05\x12\x01v\x0a\x02\x08\x06",  # two answers behind one another
        b"\x0a\x04\x08\x05\x08\x06",  # an id twice: the last one counts
        b"\x0a\x02\x18\x05",  # a score that is a varint: not ours
        b"\x0a\x05\x0d\x01\x02\x03\x04",  # an id of four bytes: not ours
        b"\x0a\x04\x1d\x01\x02\x03",  # a score that is cut
        b"\x0a\x03\x88\x00\x05",  # a longer tag
        b"\x0a\x02\x20\x05",  # a field of a newer contract
    ],
)
def test_unusual_bytes_are_read_as_protobuf_would(message: bytes) -> None:
    same_as_protobuf(message)


known_bits = sum(1 << number - 1 for number in actions_pb2.Action.values() if number)
events = st.tuples(
    ids,
    ids,
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, known_bits).map(lambda bits: bits & known_bits),
    st.floats(width=32, allow_nan=False),
    st.integers(-128, 127),
)


def sequence_of(rows: Any) -> ActionSequence:
    types = (np.uint64, np.uint64, np.int64, np.uint32, np.float32, np.int8)
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    return ActionSequence(*map(np.array, columns, types))


@given(st.lists(events, max_size=20), st.integers(1, 25), st.integers(1, 2**63 - 1))
def test_a_viewers_events_are_written_as_message_objects_would_be(
    rows: Any, length: int, viewer_id: int
) -> None:
    """An event that the ranker reads otherwise than it happened changes every score."""
    query: Any = Viewer(viewer_id, sequence_of(rows))
    expected = phoenix_pb2.UserActionSequence(
        user_id=viewer_id,
        actions=[
            phoenix_pb2.AggregatedAction(
                post_id=post_id,
                author_id=author_id,
                acted_at_ms=acted_at_ms,
                actions=[n for n in actions_pb2.Action.values() if n and bits >> n - 1 & 1],
                dwell_seconds=seconds,
                product_surface=surface,
            )
            for post_id, author_id, acted_at_ms, bits, seconds, surface in rows[-length:]
        ],
    )
    message = sequence_message(query, length)
    assert message == expected
    assert message.SerializeToString() == expected.SerializeToString()


def test_an_action_that_the_contract_does_not_have_is_left_out() -> None:
    query: Any = Viewer(1, sequence_of([(5, 6, 7, 2**32 - 1, 0.0, 0)]))
    (event,) = sequence_message(query, 1).actions
    assert list(event.actions) == [n for n in actions_pb2.Action.values() if n]
