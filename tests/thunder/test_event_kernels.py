"""The compiled decoders of both topics say what the generated classes say, of any bytes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.events_pb2 import (
    InNetworkCreate,
    InNetworkEvent,
    InNetworkStatus,
    InNetworkStatuses,
    Media,
    PostCreate,
    PostDelete,
    PostEvent,
    PostLabels,
    PostUndelete,
    QuotedPostDelete,
)
from service_kit.event_log import TOPIC_IN_NETWORK, Record
from service_kit.record_batch import RecordBatch
from thunder import event_kernels
from thunder.event_kernels import read_events
from thunder.events import PostBatch, decode_batch, read_columns
from thunder.events import decode_each as decode_each_post
from thunder.in_network import decode_each, decode_in_network, encode_creates
from thunder.layout import VIDEO
from thunder.post_kernels import is_utf8, read_posts

U64 = st.sampled_from([0, 1, 2, 1 << 32, (1 << 64) - 1]) | st.integers(0, (1 << 64) - 1)
I64 = st.sampled_from([0, 1, -1, 1_750_000_000_000]) | st.integers(-(1 << 63), (1 << 63) - 1)
CREATES = st.builds(
    InNetworkCreate,
    post_id=U64,
    author_id=U64,
    created_at_ms=I64,
    in_reply_to_post_id=U64,
    in_reply_to_user_id=U64,
    reposted_post_id=U64,
    reposted_user_id=U64,
    conversation_id=U64,
    has_video=st.booleans(),
)
STATUS = st.builds(InNetworkStatus, post_id=U64, changed_at_ms=I64, deleted=st.booleans())
EVENTS = st.one_of(
    st.builds(InNetworkEvent, create=CREATES),
    st.builds(
        InNetworkEvent,
        statuses=st.builds(InNetworkStatuses, statuses=st.lists(STATUS, max_size=4)),
    ),
)
WHOLE = EVENTS.map(lambda event: event.SerializeToString())
# Fields of a later version, of other wire types, groups, and halves of any of them.
FIELDS = st.binary(max_size=24) | st.sampled_from(
    [b"\x78\x01", b"\x7a\x02ab", b"\x7d1234", b"\x7912345678", b"\x7b\x7c", b"\x88\x80\x00\x05"]
)
DAMAGED = st.builds(lambda value, cut: value[: max(0, len(value) - cut)], WHOLE, st.integers(1, 9))


def nested(parts: list[bytes], field: int) -> bytes:
    """A message field, its length written as protobuf does."""
    body, length = b"".join(parts), bytearray()
    size = len(body)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([field << 3 | 2, *length, size]) + body


CREATE_BODIES = CREATES.map(lambda create: create.SerializeToString())
ODD = st.one_of(
    st.binary(max_size=40),
    DAMAGED,
    st.lists(WHOLE | FIELDS, max_size=3).map(b"".join),
    st.builds(nested, st.lists(CREATE_BODIES | FIELDS, max_size=3), st.integers(1, 2)),
    st.builds(
        lambda parts: nested([nested(parts, 1)], 2),
        st.lists(STATUS.map(lambda one: one.SerializeToString()) | FIELDS, max_size=3),
    ),
)


OPTIONAL = st.none() | U64
POST_CREATES = st.builds(
    PostCreate,
    post_id=U64,
    author_id=U64,
    created_at_ms=I64,
    text=st.text(max_size=8) | st.sampled_from(["߿ࠀ￿𐀀", "\U0010ffff\ud7ff\ue000"]),
    language_code=st.sampled_from(["", "en", "日本"]),
    in_reply_to_post_id=OPTIONAL,
    in_reply_to_user_id=OPTIONAL,
    conversation_id=OPTIONAL,
    reposted_post_id=OPTIONAL,
    reposted_user_id=OPTIONAL,
    quoted_post_id=OPTIONAL,
    quoted_user_id=OPTIONAL,
    media=st.lists(
        st.builds(
            Media,
            kind=st.sampled_from([0, 1, 2, 3, -1]),
            duration_ms=st.sampled_from([0, 4_999, 5_000, (1 << 32) - 1]),
        ),
        max_size=2,
    ),
    subscription_author_id=OPTIONAL,
)
KEPT_POST_EVENTS = st.one_of(
    st.builds(PostEvent, create=POST_CREATES),
    st.builds(
        PostEvent,
        delete=st.builds(PostDelete, post_id=U64, author_id=U64, deleted_at_ms=I64),
    ),
    st.builds(
        PostEvent,
        undelete=st.builds(PostUndelete, post_id=U64, author_id=U64, undeleted_at_ms=I64),
    ),
).map(lambda event: event.SerializeToString())
POST_EVENTS = KEPT_POST_EVENTS | st.one_of(
    st.builds(PostEvent, labels=st.builds(PostLabels, post_id=U64)),
    st.builds(PostEvent, quoted_post_delete=st.builds(QuotedPostDelete, quoting_post_id=U64)),
).map(lambda event: event.SerializeToString())
POST_BODIES = POST_CREATES.map(lambda create: create.SerializeToString())
# Texts that are and are not UTF-8: cut off, too long for what they say, surrogates, beyond Unicode.
TEXTS = st.binary(max_size=6) | st.sampled_from(
    [
        b"\xc3",
        b"\xc0\x80",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
    ]
)
# A uint32 and an enum of more than 32 bits, and media of other wire types.
LONG_MEDIA = st.sampled_from([b"\x08\x82\x80\x80\x80\x10", b"\x10\x88\x27", b"\x12\x01a", b"\x10"])
ODD_POSTS = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda value, cut: value[: max(0, len(value) - cut)], POST_EVENTS, st.integers(1, 9)),
    st.lists(POST_EVENTS | FIELDS, max_size=3).map(b"".join),
    st.builds(nested, st.lists(POST_BODIES | FIELDS, max_size=3), st.integers(1, 6)),
    st.builds(
        lambda body, text, field: nested([body, nested([text], field)], 1),
        POST_BODIES,
        TEXTS,
        st.sampled_from([4, 5]),
    ),
    st.builds(
        lambda body, media: nested([body, nested(media, 13)], 1),
        POST_BODIES,
        st.lists(LONG_MEDIA | FIELDS, max_size=3),
    ),
)


def records_of(values: list[bytes]) -> list[Record]:
    return [Record(TOPIC_IN_NETWORK, 0, i, 0, b"", value) for i, value in enumerate(values)]


def contents(batch: PostBatch) -> tuple[Any, ...]:
    posts = sorted(zip(batch.posts().tolist(), batch.flags().tolist(), strict=True))
    return posts, sorted(zip(*(column.tolist() for column in batch.statuses()), strict=True))


@settings(max_examples=400)
@given(st.lists(WHOLE | ODD, max_size=12))
def test_whatever_the_bytes_the_events_and_the_poison_are_those_of_the_plain_decoder(
    values: list[bytes],
) -> None:
    """A post that only one of them sees would make replicas differ, or poison vanish."""
    expected, expected_poisons = decode_each(records_of(values))
    batch, poisons = decode_in_network(records_of(values))
    assert contents(batch) == contents(expected)
    assert poisons == expected_poisons


@settings(max_examples=100)
@given(st.lists(WHOLE, min_size=1, max_size=12))
def test_whole_events_with_ids_do_not_need_the_plain_decoder(values: list[bytes]) -> None:
    """Were they left to it, ingestion would be right and ten times slower."""
    batch = RecordBatch.of(records_of(values))
    _, left = read_columns(read_events, batch.values())
    _, poisons = decode_each(batch)
    assert left == [poison.record.offset for poison in poisons]


@pytest.mark.parametrize("field", [b"\x78\x01", b"\x7a\x02ab", b"\x7d1234", b"\x7912345678"])
def test_fields_of_a_later_version_are_skipped_by_the_kernel(field: bytes) -> None:
    """A feeder that is upgraded first must not slow every replica down."""
    create = InNetworkCreate(post_id=1, author_id=2).SerializeToString() + field
    status = InNetworkStatus(post_id=3, deleted=True).SerializeToString() + field
    values = [
        nested([create], 1) + field,
        field + nested([field, nested([status], 1), field], 2),
    ]
    columns, left = read_columns(read_events, RecordBatch.of(records_of(values)).values())
    assert left == []
    assert columns.posts["post_id"].tolist() == [1]
    assert columns.statuses[0].tolist() == [3]


def test_a_poison_among_many_statuses_takes_none_of_its_own_along() -> None:
    """Half a record applied and put aside as well could not be told from a whole one."""
    good, nameless = InNetworkStatus(post_id=5, changed_at_ms=1), InNetworkStatus(changed_at_ms=1)
    bad = InNetworkEvent(statuses=InNetworkStatuses(statuses=[good, nameless]))
    fine = InNetworkEvent(statuses=InNetworkStatuses(statuses=[good]))
    values = [bad.SerializeToString(), fine.SerializeToString()]
    columns, left = read_columns(read_events, RecordBatch.of(records_of(values)).values())
    assert left == [0]
    assert columns.statuses[0].tolist() == [5]


def test_the_room_for_statuses_is_what_the_smallest_ones_need() -> None:
    """A byte less and the kernel would write past its arrays."""
    smallest = InNetworkStatus(post_id=1)
    event = InNetworkEvent(statuses=InNetworkStatuses(statuses=[smallest] * 1_000))
    value = event.SerializeToString()
    assert len(value) // event_kernels.STATUS_BYTES_MIN >= 1_000
    columns, _ = read_columns(read_events, RecordBatch.of(records_of([value])).values())
    assert np.array_equal(columns.statuses[0], np.ones(1_000, np.uint64))


@settings(max_examples=500)
@given(st.lists(POST_EVENTS | ODD_POSTS, max_size=12))
def test_posts_of_any_bytes_are_what_the_plain_decoder_makes_of_them(values: list[bytes]) -> None:
    """A standalone replica and a feeder must not differ from what the contract says of a record."""
    expected, expected_poisons = decode_each_post(records_of(values))
    batch, poisons = decode_batch(records_of(values))
    assert contents(batch) == contents(expected)
    assert batch.passed_over == expected.passed_over
    assert poisons == expected_poisons


@settings(max_examples=100)
@given(st.lists(KEPT_POST_EVENTS, min_size=1, max_size=12))
def test_whole_posts_with_ids_do_not_need_the_plain_decoder(values: list[bytes]) -> None:
    """Were they left to it, a feeder would be right and ten times slower."""
    batch = RecordBatch.of(records_of(values))
    _, left = read_columns(read_posts, batch.values())
    _, poisons = decode_each_post(batch)
    assert left == [poison.record.offset for poison in poisons]


@settings(max_examples=200)
@given(st.lists(st.builds(PostEvent, create=POST_CREATES), max_size=12))
def test_the_compact_creates_are_the_bytes_of_the_generated_classes(events: list[Any]) -> None:
    """They are a contract: readers in any language take them for plain protobuf."""
    values = [event.SerializeToString() for event in events]
    columns, _ = read_columns(read_posts, RecordBatch.of(records_of(values)).values())
    written = encode_creates(columns.posts, columns.flags)
    expected = [
        InNetworkEvent(
            create=InNetworkCreate(
                post_id=post["post_id"],
                author_id=post["author_id"],
                created_at_ms=post["created_at_ms"],
                in_reply_to_post_id=post["in_reply_to_post_id"],
                in_reply_to_user_id=post["in_reply_to_user_id"],
                reposted_post_id=post["source_post_id"],
                reposted_user_id=post["source_user_id"],
                conversation_id=post["conversation_id"],
                has_video=flags & VIDEO != 0,
            )
        ).SerializeToString()
        for post, flags in zip(columns.posts, columns.flags.tolist(), strict=True)
    ]
    assert written == expected


def test_a_text_is_utf8_where_python_says_so() -> None:
    """Every sequence of bytes at the edges of what the encoding allows, alone and cut off."""
    firsts = (0x00, 0x7F, 0x80, 0xBF, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF)
    firsts += (0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF)
    others = (0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0)
    plain = getattr(is_utf8, "py_func", is_utf8)
    for length in range(4):
        for first, *rest in product(firsts, *[others] * length):
            text = bytes([first, *rest])
            try:
                text.decode()
            except UnicodeDecodeError:
                expected = False
            else:
                expected = True
            assert bool(plain(np.frombuffer(text, np.uint8), 0, len(text))) == expected, text
