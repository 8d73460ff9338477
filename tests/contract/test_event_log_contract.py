"""What every event log promises, whatever stands behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service_kit.event_log import (
    RECORD_BYTES_MAX,
    RecordTooLargeError,
    TopicError,
    event_key,
    records_until_now,
)

A, B = "contract.a", "contract.b"


def entries(count: int, first: int = 0) -> list[tuple[bytes, bytes, int]]:
    return [
        (event_key(i % 7), f"event {i}".encode(), 1000 + i) for i in range(first, first + count)
    ]


async def read(source: Any, count: int, max_records: int = 1000) -> list[Any]:
    records: list[Any] = []
    while len(records) < count:
        taken = await source.poll(max_records, 5.0)
        assert taken, f"{len(records)} of {count} records came, then silence"
        assert len(taken) <= max_records
        records += taken
    return records


async def test_what_was_appended_is_read_byte_for_byte(log_backend: Any) -> None:
    sink = await log_backend.sink()
    await sink.append(A, b"key", b"\x00\xff value", 42)
    await sink.append(A, b"", b"", 43)
    await sink.flush()
    records = await read(await log_backend.source([A]), 2)
    assert [(r.topic, r.partition, r.offset) for r in records] == [(A, 0, 0), (A, 0, 1)]
    assert [(r.key, r.value) for r in records] == [(b"key", b"\x00\xff value"), (b"", b"")]
    times_ms = [r.timestamp_ms for r in records]
    if log_backend.stamps_arrival:
        assert times_ms == sorted(times_ms)
        assert times_ms[0] > 1_700_000_000_000
    else:
        assert times_ms == [42, 43]
    await sink.close()


async def test_one_key_keeps_its_order_over_several_partitions(log_backend: Any) -> None:
    sink = await log_backend.sink(partitions=4)
    await sink.append_many(A, entries(500))
    source = await log_backend.source([A])
    records = await read(source, 500, max_records=37)
    assert len({r.partition for r in records}) > 1, "keys are spread over the partitions"
    for key in {r.key for r in records}:
        mine = [r for r in records if r.key == key]
        assert len({r.partition for r in mine}) == 1
        assert [r.timestamp_ms for r in mine] == sorted(r.timestamp_ms for r in mine)
    assert await source.end_offsets() == source.positions()


async def test_a_batch_is_what_polls_bring(log_backend: Any) -> None:
    """Consumers read batches, tools read lists: both must see the same log."""
    sink = await log_backend.sink(partitions=2)
    await sink.append_many(A, [*entries(50), (b"", b"", 1)])
    expected = await read(await log_backend.source([A]), 51)
    source, found = await log_backend.source([A]), []
    while len(found) < 51:
        batch = await source.poll_batch(8, 5.0)
        assert 0 < len(batch) <= 8
        found += list(batch)
        assert batch.values().data.tobytes() == b"".join(r.value for r in batch)
    assert sorted(found) == sorted(expected)
    assert source.positions() == await source.end_offsets()
    assert not await source.poll_batch(8, 0.01)


async def test_two_topics_come_through_one_source(log_backend: Any) -> None:
    sink = await log_backend.sink()
    await sink.append_many(A, entries(3))
    await sink.append_many(B, entries(4))
    records = await read(await log_backend.source([A, B]), 7)
    assert sorted(r.topic for r in records) == [A] * 3 + [B] * 4


async def test_a_small_poll_goes_on_where_it_stopped(log_backend: Any) -> None:
    sink = await log_backend.sink()
    await sink.append_many(A, entries(10))
    source = await log_backend.source([A])
    assert [len(await source.poll(3, 5.0)) for _ in range(4)] == [3, 3, 3, 1]
    assert source.positions() == {(A, 0): 10}


async def test_silence_returns_nothing_at_the_timeout(log_backend: Any) -> None:
    source = await log_backend.source([A])
    assert await source.poll(10, 0.0) == []
    assert await source.poll(10, 0.01) == []


async def test_a_follower_finds_a_topic_that_is_made_later(log_backend: Any) -> None:
    source = await log_backend.source([A], start="latest")
    waiting = asyncio.create_task(source.poll(10, 10.0))
    await asyncio.sleep(0)
    await (await log_backend.sink(partitions=3)).append_many(A, entries(1))
    assert [r.value for r in await waiting] == [b"event 0"], "a new topic is read from its start"


async def test_latest_skips_what_is_there(log_backend: Any) -> None:
    sink = await log_backend.sink()
    await sink.append_many(A, entries(5))
    source = await log_backend.source([A], start="latest")
    await sink.append_many(A, entries(1, first=5))
    assert [r.value for r in await read(source, 1)] == [b"event 5"]


async def test_seek_moves_back_and_forth(log_backend: Any) -> None:
    sink = await log_backend.sink()
    await sink.append_many(A, entries(10))
    source = await log_backend.source([A])
    await read(source, 10)
    source.seek(A, 0, 4)
    assert (await source.poll(1, 5.0))[0].offset == 4
    source.seek(A, 0, 9)
    assert [r.offset for r in await source.poll(10, 5.0)] == [9]


async def test_a_group_goes_on_after_its_commit(log_backend: Any) -> None:
    sink = await log_backend.sink()
    await sink.append_many(A, entries(10))
    source = await log_backend.source([A], group="readers", start="committed")
    assert len(await source.poll(4, 10.0)) == 4
    await source.commit()
    assert len(await source.poll(4, 10.0)) == 4  # not committed: comes again
    await source.close()
    again = await log_backend.source([A], group="readers", start="committed")
    assert (await again.poll(100, 10.0))[0].offset == 4
    other = await log_backend.source([A], group="others", start="committed")
    assert (await other.poll(100, 10.0))[0].offset == 0


async def test_what_a_group_committed_is_each_partitions_own(log_backend: Any) -> None:
    """A successor reads exactly what its predecessor had not committed, partition by partition."""
    sink = await log_backend.sink(partitions=3)
    await sink.append_many(A, entries(60))
    first = await log_backend.source([A], group="readers", start="committed")
    handled = [(r.partition, r.offset) for r in await read(first, 20, max_records=20)]
    await first.commit()
    await read(first, 10)  # taken, and not committed
    await first.close()
    second = await log_backend.source([A], group="readers", start="committed")
    rest = [(r.partition, r.offset) for r in await read(second, 60 - len(handled))]
    assert sorted(handled + rest) == sorted(set(handled + rest)), "nothing twice"
    assert len(handled + rest) == 60, "nothing lost"


async def test_two_groups_do_not_see_one_another(log_backend: Any) -> None:
    await (await log_backend.sink()).append_many(A, entries(5))
    for group in ("one", "two"):
        source = await log_backend.source([A], group=group, start="committed")
        assert len(await read(source, 5)) == 5
        await source.commit()


async def test_shares_of_one_topic_have_every_event_once(log_backend: Any) -> None:
    await (await log_backend.sink(partitions=4)).append_many(A, entries(50))
    offsets: list[tuple[int, int]] = []
    for part in range(2):
        source = await log_backend.source([A], share=(part, 2))
        ends = await source.end_offsets()
        assert {partition % 2 for _, partition in ends} == {part}
        offsets += [(r.partition, r.offset) for r in await read(source, sum(ends.values()))]
    assert len(offsets) == len(set(offsets)) == 50


async def test_a_topic_that_cannot_be_dealt_out_says_what_is_needed(log_backend: Any) -> None:
    await (await log_backend.sink(partitions=3)).append_many(A, entries(3))
    with pytest.raises(TopicError, match=r"3 partitions.*2 shares"):
        await (await log_backend.source([A], share=(0, 2))).end_offsets()


async def test_a_position_taken_before_the_first_poll_is_where_it_begins(log_backend: Any) -> None:
    """Consumers that keep their own positions set them before they read."""
    await (await log_backend.sink()).append_many(A, entries(10))
    source = await log_backend.source([A])
    source.seek(A, 0, 8)
    assert source.positions() == {(A, 0): 8}
    assert [r.offset for r in await read(source, 2)] == [8, 9]


async def test_a_topic_that_is_not_followed_cannot_be_sought(log_backend: Any) -> None:
    source = await log_backend.source([A])
    with pytest.raises(ValueError, match=r"contract\.b.*not followed"):
        source.seek(B, 0, 0)
    with pytest.raises(ValueError, match="0 or more"):
        source.seek(A, 0, -1)


async def test_everything_until_now_is_read_and_then_it_ends(log_backend: Any) -> None:
    await (await log_backend.sink(partitions=2)).append_many(A, entries(40))
    source = await log_backend.source([A])
    found = [r.value async for batch in records_until_now(source) for r in batch]
    assert sorted(found) == sorted(value for _, value, _ in entries(40))


async def test_commit_without_a_group_is_refused(log_backend: Any) -> None:
    with pytest.raises(RuntimeError, match="group"):
        await (await log_backend.source([A])).commit()


async def test_a_cancelled_poll_loses_nothing(log_backend: Any) -> None:
    sink = await log_backend.sink()
    source = await log_backend.source([A])
    waiting = asyncio.create_task(source.poll(10, 10.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await sink.append_many(A, entries(3))
    assert len(await read(source, 3)) == 3


async def test_polls_that_are_cancelled_at_any_time_lose_and_repeat_nothing(
    log_backend: Any,
) -> None:
    """A consumer that stops in the middle of a read goes on exactly where it was."""
    sink = await log_backend.sink(partitions=2)
    await sink.append_many(A, entries(300))
    source = await log_backend.source([A])
    offsets: list[tuple[int, int]] = []
    cancelled = 0
    for turn in range(2_000):
        poll = asyncio.create_task(source.poll(2, 5.0))
        for _ in range(turn % 7):
            await asyncio.sleep(0)
        if turn % 3 and not poll.done():
            poll.cancel()
        (records,) = await asyncio.gather(poll, return_exceptions=True)
        if isinstance(records, asyncio.CancelledError):
            cancelled += 1
            continue
        offsets += [(r.partition, r.offset) for r in records]
        if len(offsets) == 300:
            break
    assert cancelled, "some polls were cut off"
    assert len(offsets) == len(set(offsets)) == 300


async def test_an_oversize_event_is_refused_with_its_whole_batch(log_backend: Any) -> None:
    sink = await log_backend.sink()
    large = (b"k", b"x" * RECORD_BYTES_MAX, 0)
    with pytest.raises(RecordTooLargeError, match=str(RECORD_BYTES_MAX)):
        await sink.append_many(A, [*entries(2), large])
    await sink.append_many(A, [(b"", b"x" * RECORD_BYTES_MAX, 0)])
    records = await read(await log_backend.source([A]), 1)
    assert len(records[0].value) == RECORD_BYTES_MAX


async def test_a_log_that_dropped_nothing_starts_at_nought(log_backend: Any) -> None:
    """A reader that kept its own position compares it with this: what lies before is gone."""
    await (await log_backend.sink()).append_many(A, entries(3))
    source = await log_backend.source([A])
    assert await source.start_offsets() == {(A, 0): 0}
