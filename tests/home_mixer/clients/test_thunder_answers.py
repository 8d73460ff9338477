"""Thunder's answers become the columns that protobuf's own reader gives, whatever the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from home_mixer.clients import thunder_answers
from home_mixer.clients.thunder_answers import FIELDS, InNetworkAnswer, decode_answer
from protos import thunder_pb2

Response = thunder_pb2.GetInNetworkPostsResponse
LightPost = thunder_pb2.LightPost
FIELDS_OF_POST = LightPost.DESCRIPTOR.fields

varints = st.integers(0, 2**64 - 1) | st.integers(0, 300) | st.sampled_from([2**56, 2**63])
signed = st.integers(-(2**63), 2**63 - 1)
kinds = {
    "created_at_ms": signed,
    **dict.fromkeys(("is_repost", "is_reply", "has_video"), st.booleans()),
}
posts = st.fixed_dictionaries(
    {}, optional={field.name: kinds.get(field.name, varints) for field in FIELDS_OF_POST}
)


def rows_of(response: Any) -> list[list[int]]:
    """The plain reference: a list a field number, its values modulo 2^64."""
    names = {field.number: field.name for field in FIELDS_OF_POST}
    return [
        [int(getattr(post, names[number])) % 2**64 if number in names else 0 for post in response]
        for number in range(FIELDS)
    ]


def same_as_protobuf(message: bytes) -> InNetworkAnswer | None:
    """What `decode_answer` makes of it, after comparing; None where both refuse it."""
    try:
        expected = Response.FromString(message)
    except DecodeError:
        with pytest.raises(DecodeError):
            decode_answer(message)
        return None
    answer = decode_answer(message)
    assert answer.posts.dtype == np.uint64
    assert answer.posts.tolist() == rows_of(expected.posts)
    assert (answer.partial, answer.authors_scanned) == (expected.partial, expected.authors_scanned)
    return answer


@given(st.lists(posts, max_size=30), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_answer_is_read(found: list[dict[str, Any]], partial: bool, scanned: int) -> None:
    response = Response(posts=found, partial=partial, authors_scanned=scanned)
    assert same_as_protobuf(response.SerializeToString()) is not None


def test_what_thunder_sends_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of 1,200 posts read object by object would cost a feed over a millisecond."""
    found = [
        LightPost(post_id=2**60 + i, author_id=i + 1, created_at_ms=1_790_000_000_000 + i)
        for i in range(1_200)
    ]
    found[7].in_reply_to_post_id = found[7].conversation_id = 2**64 - 1
    found[7].is_reply = found[9].has_video = True
    message = Response(posts=found, authors_scanned=1_000).SerializeToString()
    expected = Response.FromString(message)
    monkeypatch.setattr(thunder_answers, "_decode_objects", None)
    answer = decode_answer(message)
    assert answer.posts.tolist() == rows_of(expected.posts)
    assert answer.authors_scanned == 1_000


def varint(value: int, length: int = 1) -> bytes:
    """At least ``length`` bytes long: longer than needed is valid too."""
    groups = []
    while value > 0x7F or len(groups) + 1 < length:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def delimited(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


# Fields as a stranger may write them: of a post, of another version of it, or of neither.
pairs = st.builds(
    lambda number, value, tag_bytes, bytes_: varint(number * 8, tag_bytes) + varint(value, bytes_),
    st.integers(1, 13) | st.integers(14, 5_000),
    varints,
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([1, 1, 2, 9, 10]),
)
strange = st.one_of(
    st.builds(lambda n, c: delimited(varint(n * 8 + 2), c), st.integers(1, 20), st.binary()),
    st.builds(
        lambda n, c: varint(n * 8 + 1) + c, st.integers(1, 20), st.binary(min_size=8, max_size=8)
    ),
    st.builds(
        lambda n, c: varint(n * 8 + 5) + c, st.integers(1, 20), st.binary(min_size=4, max_size=4)
    ),
)
bodies = st.lists(pairs, max_size=5).map(b"".join) | st.lists(pairs | strange, max_size=5).map(
    b"".join
)
parts = st.builds(delimited, st.just(b"\x0a"), bodies) | pairs | strange
messages = st.lists(parts, max_size=8).map(b"".join)


@given(messages)
@example(b"")
@example(b"\x10\x01\x0a\x02\x08\x05")  # partial, then a post
@example(b"\x0a\x02\x08\x05\x10\x01\x0a\x02\x08\x06")  # two answers behind one another
@example(b"\x0a\x04\x08\x05\x08\x06\x10\x01\x10\x00")  # a field twice: the last one counts
@example(b"\x0a\x03\x08\x05\x10\x01\x18\x01")  # a length that cuts a pair in two
@example(b"\x0a\x04\x0a\x02\x08\x05")  # a post inside a post: not ours
@example(b"\x0a\x02\x30\x02\x10\x02\x18\xff\xff\xff\xff\x7f")  # 2 is true; 32 bits of 35
@example(b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f")  # more than 64 bits
@example(b"\x0a\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")  # longer than any varint
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x08\x01")  # a length beyond the end
@example(b"\x00\x01")  # field number 0
def test_any_valid_bytes_are_read_and_others_refused(message: bytes) -> None:
    same_as_protobuf(message)


@given(messages, st.data())
def test_damaged_bytes_are_refused_or_read_as_protobuf_would(message: bytes, data: Any) -> None:
    damaged = bytearray(message)
    for at in data.draw(st.lists(st.integers(0, max(0, len(damaged) - 1)), max_size=3)):
        if damaged:
            damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    same_as_protobuf(bytes(damaged))
    same_as_protobuf(bytes(damaged[:cut]))
