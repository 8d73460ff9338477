"""A batch is the sequence of records that it stands for, however it was put together."""

from __future__ import annotations

import numpy as np
import pytest

from service_kit.event_log import Record
from service_kit.record_batch import RecordBatch

RECORDS = [
    Record("t", 0, 7, 70, b"k", b"one"),
    Record("t", 0, 8, 80, b"", b""),
    Record("t", 1, 3, 30, b"key", b"three"),
    Record("u", 0, 0, 0, b"", b"4"),
    Record("t", 0, 9, 90, b"k", b"five"),
]


@pytest.fixture(params=["one", "joined"])
def batch(request: pytest.FixtureRequest) -> RecordBatch:
    if request.param == "one":
        return RecordBatch.of(RECORDS)
    return RecordBatch.of(RECORDS[:1]) + RecordBatch() + RecordBatch.of(RECORDS[1:])


def test_handlers_see_the_records_as_they_were_polled(batch: RecordBatch) -> None:
    """A handler that loops, indexes or slices would get other events than with a list."""
    assert list(batch) == RECORDS
    assert len(batch) == len(RECORDS)
    assert [batch[i] for i in range(-5, 5)] == RECORDS + RECORDS
    assert batch[1:4] == RECORDS[1:4]
    assert not RecordBatch()
    assert list(RecordBatch()) == []


@pytest.mark.parametrize("index", [5, -6])
def test_an_index_beyond_the_batch_is_an_error_as_in_a_list(batch: RecordBatch, index: int) -> None:
    with pytest.raises(IndexError, match="batch of 5"):
        batch[index]


def test_the_values_in_one_buffer_are_those_of_the_records(batch: RecordBatch) -> None:
    data, ends = batch.values()
    pieces = np.split(data, ends[:-1])
    assert [piece.tobytes() for piece in pieces] == [r.value for r in RECORDS]
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 1


def test_an_empty_batch_has_no_values() -> None:
    data, ends = RecordBatch().values()
    assert (data.size, ends.size, RecordBatch().bytes_bound()) == (0, 0, 0)


def test_the_bound_is_never_below_a_records_size(batch: RecordBatch) -> None:
    """An event above the limit would reach a handler."""
    assert batch.bytes_bound() >= max(len(r.key) + len(r.value) for r in RECORDS)


def test_first_and_last_of_each_partition_say_where_to_go_back_to_and_what_was_taken(
    batch: RecordBatch,
) -> None:
    assert batch.firsts() == {("t", 0): 7, ("t", 1): 3, ("u", 0): 0}
    assert batch.lasts() == {("t", 0): RECORDS[4], ("t", 1): RECORDS[2], ("u", 0): RECORDS[3]}
