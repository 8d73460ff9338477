"""The answer's bytes are those that protobuf's own serializer would give."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from protos import thunder_pb2
from thunder.answers import authors_and_replies, encode_answer
from thunder.layout import DEAD, HIDDEN, REPLY, REPOST, ROW, VIDEO
from thunder.store import Found

Answer = thunder_pb2.GetInNetworkPostsResponse
OPTIONAL = (
    "in_reply_to_post_id",
    "in_reply_to_user_id",
    "source_post_id",
    "source_user_id",
    "conversation_id",
)


def message_of(found: Found) -> Any:
    """The plain reference: one message object a post."""
    answer = Answer(partial=found.partial, authors_scanned=found.authors_scanned)
    for row, flags in zip(found.posts, found.flags.tolist(), strict=True):
        answer.posts.add(
            post_id=int(row["post_id"]),
            author_id=int(row["author_id"]),
            created_at_ms=int(row["created_at_ms"]),
            is_repost=flags & REPOST != 0,
            is_reply=flags & REPLY != 0,
            has_video=flags & VIDEO != 0,
            **{name: int(row[name]) or None for name in OPTIONAL},
        )
    return answer


def found_of(rows: list[Any], flags: list[int], partial: bool = False, scanned: int = 0) -> Found:
    return Found(np.array(rows, ROW), np.array(flags, np.uint8), partial, scanned, {})


# Either side of every length that a varint can have.
EDGES = sorted({0, 1, *((1 << bits) + d for bits in range(7, 64, 7) for d in (-1, 0)), 2**64 - 1})
ids = st.sampled_from(EDGES) | st.integers(0, 2**64 - 1)
times_ms = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1_790_000_000_000])
posts = st.tuples(ids, ids, times_ms, ids, ids, ids, ids, ids)
bits = st.integers(0, DEAD | REPLY | REPOST | VIDEO | HIDDEN)


@given(st.lists(st.tuples(posts, bits), max_size=20), st.booleans(), st.integers(0, 10_000))
def test_any_posts_become_the_bytes_of_protobuf(
    rows: list[tuple[Any, int]], partial: bool, scanned: int
) -> None:
    found = found_of([row for row, _ in rows], [flags for _, flags in rows], partial, scanned)
    message = message_of(found)
    written = encode_answer(found)
    assert written == message.SerializeToString(deterministic=True)
    assert Answer.FromString(written) == message


def test_a_post_with_every_field_at_its_longest_fits() -> None:
    longest = (2**64 - 1, 2**64 - 1, -1, *[2**64 - 1] * 5)
    found = found_of([longest] * 10_000, [REPLY | REPOST | VIDEO] * 10_000, True, 10_000)
    assert encode_answer(found) == message_of(found).SerializeToString(deterministic=True)


def test_an_id_that_the_store_does_not_know_is_left_unset() -> None:
    (post,) = Answer.FromString(encode_answer(found_of([(1, 2, 3, 0, 0, 0, 0, 0)], [0]))).posts
    assert [field.name for field, _ in post.ListFields()] == [
        "post_id",
        "author_id",
        "created_at_ms",
    ]


@given(st.lists(st.tuples(st.integers(1, 2**64 - 1) | st.integers(1, 9), bits), max_size=50))
@example([])
@example([(7, REPLY), (7, REPLY | REPOST), (2**64 - 1, DEAD)])
def test_authors_are_counted_once_and_replies_each(rows: list[tuple[int, int]]) -> None:
    """The shares of replies and the numbers of authors that operators see come from here."""
    authors, flags = [author for author, _ in rows], [bits for _, bits in rows]
    found = found_of([(1, author, 0, 0, 0, 0, 0, 0) for author in authors], flags)
    replies = sum(bits & REPLY != 0 for bits in flags)
    assert authors_and_replies(found) == (len(set(authors)), replies)
