"""The compiled decoder of the compact topic says what the generated classes say, of any bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.events_pb2 import InNetworkCreate, InNetworkEvent, InNetworkStatus, InNetworkStatuses
from service_kit.event_log import TOPIC_IN_NETWORK, Record
from service_kit.record_batch import RecordBatch
from thunder import event_kernels
from thunder.events import PostBatch
from thunder.in_network import decode_each, decode_in_network, read_columns

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


def records_of(values: list[bytes]) -> list[Record]:
    return [Record(TOPIC_IN_NETWORK, 0, i, 0, b"", value) for i, value in enumerate(values)]


def contents(batch: PostBatch) -> tuple[Any, ...]:
    posts = sorted(zip(batch.posts().tolist(), batch.flags().tolist(), strict=True))
    return posts, sorted(zip(*(column.tolist() for column in batch.statuses()), strict=True))


@settings(max_examples=400, deadline=None)
@given(st.lists(WHOLE | ODD, max_size=12))
def test_whatever_the_bytes_the_events_and_the_poison_are_those_of_the_plain_decoder(
    values: list[bytes],
) -> None:
    """A post that only one of them sees would make replicas differ, or poison vanish."""
    expected, expected_poisons = decode_each(records_of(values))
    batch, poisons = decode_in_network(records_of(values))
    assert contents(batch) == contents(expected)
    assert poisons == expected_poisons


@settings(max_examples=100, deadline=None)
@given(st.lists(WHOLE, min_size=1, max_size=12))
def test_whole_events_with_ids_do_not_need_the_plain_decoder(values: list[bytes]) -> None:
    """Were they left to it, ingestion would be right and ten times slower."""
    batch = RecordBatch.of(records_of(values))
    _, left = read_columns(batch.values())
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
    columns, left = read_columns(RecordBatch.of(records_of(values)).values())
    assert left == []
    assert columns.posts["post_id"].tolist() == [1]
    assert columns.statuses[0].tolist() == [3]


def test_a_poison_among_many_statuses_takes_none_of_its_own_along() -> None:
    """Half a record applied and put aside as well could not be told from a whole one."""
    good, nameless = InNetworkStatus(post_id=5, changed_at_ms=1), InNetworkStatus(changed_at_ms=1)
    bad = InNetworkEvent(statuses=InNetworkStatuses(statuses=[good, nameless]))
    fine = InNetworkEvent(statuses=InNetworkStatuses(statuses=[good]))
    values = [bad.SerializeToString(), fine.SerializeToString()]
    columns, left = read_columns(RecordBatch.of(records_of(values)).values())
    assert left == [0]
    assert columns.statuses[0].tolist() == [5]


def test_the_room_for_statuses_is_what_the_smallest_ones_need() -> None:
    """A byte less and the kernel would write past its arrays."""
    smallest = InNetworkStatus(post_id=1)
    event = InNetworkEvent(statuses=InNetworkStatuses(statuses=[smallest] * 1_000))
    value = event.SerializeToString()
    assert len(value) // event_kernels.STATUS_BYTES_MIN >= 1_000
    columns, _ = read_columns(RecordBatch.of(records_of([value])).values())
    assert np.array_equal(columns.statuses[0], np.ones(1_000, np.uint64))
