"""A consumer survives poison and outages, says when it is current, and never commits too much."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from service_kit import dead_letters
from service_kit.consumer import ConsumerOptions
from service_kit.dead_letters import Poison
from service_kit.event_log import RECORD_BYTES_MAX, Record


async def until(condition: Callable[[], bool], task: asyncio.Task[Any]) -> None:
    """Lets the consumer run until the condition holds; its death fails the test."""
    async with asyncio.timeout(20):
        while not condition():
            assert not task.done(), task
            await asyncio.sleep(0.001)


async def stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Collector:
    """Keeps what it is given; raises for values in ``bad`` and while ``down``."""

    def __init__(self, *bad: bytes) -> None:
        self.values: list[bytes] = []
        self.batches: list[int] = []
        self.bad = set(bad)
        self.down = False
        self.calls = 0

    async def __call__(self, records: Any) -> list[Poison]:
        self.calls += 1
        if self.down:
            raise ConnectionError("the database is away")
        if any(r.value in self.bad for r in records):
            raise KeyError("a bug that this record meets")
        self.values += [r.value for r in records]
        self.batches.append(len(records))
        return [Poison(r, "not understood") for r in records if r.value.startswith(b"odd")]


async def test_a_quiet_log_without_events_is_caught_up_at_once(bench: Any) -> None:
    consumer = bench.consumer(Collector())
    task = asyncio.create_task(consumer.run())
    await asyncio.wait_for(consumer.caught_up.wait(), 5)
    assert bench.readiness.serving("svc")
    await stop(task)
    assert not bench.readiness.serving("svc"), "a stopped consumer must not look current"


async def test_caught_up_waits_for_everything_that_was_there_in_every_partition(
    bench: Any, quick: ConsumerOptions
) -> None:
    bench.write(*(b"%d" % i for i in range(50)))
    collector = Collector()
    consumer = bench.consumer(collector, options=replace(quick, batch_records=7))
    task = asyncio.create_task(consumer.run())
    await asyncio.wait_for(consumer.caught_up.wait(), 5)
    assert sorted(collector.values) == sorted(b"%d" % i for i in range(50))
    assert max(collector.batches) <= 7
    await until(lambda: sum(consumer.lag.values()) == 0 and len(consumer.lag) == 3, task)
    await stop(task)


async def test_one_lonely_event_is_handled_without_waiting_for_a_full_batch(bench: Any) -> None:
    collector = Collector()
    task = asyncio.create_task(bench.consumer(collector).run())
    bench.write(b"lonely")
    await until(lambda: collector.values == [b"lonely"], task)
    await stop(task)


async def test_poison_is_put_aside_with_bytes_and_reason_and_the_rest_goes_on(bench: Any) -> None:
    bench.write(b"good", b"odd \xff", b"fine")
    collector = Collector()
    consumer = bench.consumer(collector)
    task = asyncio.create_task(consumer.run())
    await asyncio.wait_for(consumer.caught_up.wait(), 5)
    await stop(task)
    (letter,) = await bench.source("events.dead").poll(10, 0.0)
    header, value = dead_letters.decode(letter.value)
    assert value == b"odd \xff"
    assert letter.key == b"odd \xff"
    assert header["reason"] == "not understood"
    assert header["topic"] == "events"
    assert bench.metrics.value("consumer_poison_total", topic="events") == 1


async def test_a_record_that_makes_the_handler_raise_is_found_and_put_aside(bench: Any) -> None:
    bench.write(*(b"%d" % i for i in range(20)))
    collector = Collector(b"13")
    consumer = bench.consumer(collector)
    task = asyncio.create_task(consumer.run())
    await asyncio.wait_for(consumer.caught_up.wait(), 5)
    assert set(collector.values) == {b"%d" % i for i in range(20)} - {b"13"}
    await until(lambda: bench.readiness.serving("svc"), task)
    await stop(task)
    (letter,) = await bench.source("events.dead").poll(10, 0.0)
    header, value = dead_letters.decode(letter.value)
    assert (value, header["reason"]) == (b"13", "KeyError: 'a bug that this record meets'")


async def test_an_outage_turns_readiness_off_loses_nothing_and_recovers(bench: Any) -> None:
    collector = Collector()
    task = asyncio.create_task(bench.consumer(collector).run())
    await until(lambda: bench.readiness.serving("svc"), task)
    collector.down = True
    bench.write(b"a", b"b")
    await until(lambda: collector.calls > 8, task)
    assert not bench.readiness.serving("svc")
    assert "database is away" in bench.readiness.state("svc").reason
    collector.down = False
    await until(lambda: bench.readiness.serving("svc"), task)
    assert set(collector.values) == {b"a", b"b"}
    assert await bench.source("events.dead").poll(10, 0.0) == [], "an outage is nobody's poison"
    await stop(task)


async def test_a_disk_that_fails_now_and_then_makes_no_poison(
    bench: Any, quick: ConsumerOptions
) -> None:
    """Handled one by one, a write that failed beside one that succeeded is no record's fault."""
    written: list[bytes] = []
    fails = iter([True] * quick.attempts_whole + [False, True] * 5)

    async def handler(records: Sequence[Record]) -> list[Poison]:
        if next(fails, False):
            raise OSError(28, "No space left on device")
        written.extend(record.value for record in records)
        return []

    bench.write(b"a", b"b", b"c", b"d")
    consumer = bench.consumer(handler)
    task = asyncio.create_task(consumer.run())
    await asyncio.wait_for(consumer.caught_up.wait(), 5)
    await stop(task)
    assert set(written) == {b"a", b"b", b"c", b"d"}
    assert await bench.source("events.dead").poll(10, 0.0) == []


async def test_an_outage_fills_no_log_with_equal_tracebacks(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector = Collector()
    collector.down = True
    bench.write(b"a")
    task = asyncio.create_task(bench.consumer(collector).run())
    await until(lambda: collector.calls > 5, task)
    await stop(task)
    retries = [r for r in caplog.records if r.message == "consumer restarts"]
    assert [bool(r.exc_info) for r in retries[:3]] == [True, False, False]
    assert all("database is away" in vars(r)["reason"] for r in retries)


async def test_what_is_not_handled_is_never_committed(bench: Any, quick: ConsumerOptions) -> None:
    options = replace(quick, commit=True)
    bench.write(b"a")
    source = bench.source(group="g", start="committed")
    first = bench.consumer(Collector(), source=source, options=options)
    task = asyncio.create_task(first.run())
    await asyncio.wait_for(first.caught_up.wait(), 5)
    entered = asyncio.Event()

    async def hangs(records: Any) -> list[Poison]:
        entered.set()
        await asyncio.Event().wait()
        return []

    await stop(task)
    bench.write(b"b")
    second = bench.consumer(hangs, source=bench.source(group="g", start="committed"))
    task = asyncio.create_task(second.run())
    await asyncio.wait_for(entered.wait(), 5)
    await stop(task)
    again = bench.source(group="g", start="committed")
    assert [r.value for r in await again.poll(10, 0.0)] == [b"b"]


async def test_replaying_consumers_put_no_record_aside_twice(bench: Any) -> None:
    bench.write(b"odd")
    for _ in range(2):
        known = await dead_letters.known_dead_letters(bench.source("events.dead"))
        consumer = bench.consumer(Collector(), known_dead=known)
        task = asyncio.create_task(consumer.run())
        await asyncio.wait_for(consumer.caught_up.wait(), 5)
        await stop(task)
    assert len(await bench.source("events.dead").poll(10, 0.0)) == 1


async def test_a_damaged_log_is_visible_in_readiness(bench: Any) -> None:
    bench.writer.append_many_sync("events", [(b"k", b"value", 0)])
    for path in (bench.directory / "events").glob("*/*.log"):
        path.write_bytes(b"\x01" + path.read_bytes()[1:])
    task = asyncio.create_task(bench.consumer(Collector()).run())
    await until(lambda: "byte 0" in bench.readiness.state("svc").reason, task)
    await stop(task)


def test_a_dead_letter_of_the_largest_record_still_fits() -> None:
    record = Record("t", 0, 1, 2, b"k" * 8, b"x" * (RECORD_BYTES_MAX - 8))
    value = dead_letters.encode(Poison(record, "r" * 10_000))
    assert len(value) + len(record.key) <= RECORD_BYTES_MAX
    assert dead_letters.decode(value)[0]["value_bytes"] == RECORD_BYTES_MAX - 8
