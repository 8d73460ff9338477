"""A log that goes away, partitions that move on and commits that fail cost no event, no feed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from service_kit.consumer import ConsumerOptions
from service_kit.dead_letters import Poison
from service_kit.embedded_log import EmbeddedLogSource
from service_kit.event_log import LogUnavailableError, Record
from service_kit.record_batch import RecordBatch


class Fickle(EmbeddedLogSource):
    """Goes away on command, wholly or for commits; may lose partitions to others of its group."""

    away = False
    away_for_commits = False
    fails_after_polls: int | None = None
    lost: frozenset[int] = frozenset()

    async def poll_batch(self, max_records: int, timeout_s: float) -> RecordBatch:
        if self.fails_after_polls is not None:
            self.fails_after_polls -= 1
            if self.fails_after_polls < 0:
                self.fails_after_polls = None
                raise LogUnavailableError("gone in the middle of a batch")
        self._look()
        records = await super().poll_batch(max_records, timeout_s)
        return RecordBatch.of([r for r in records if r.partition not in self.lost])

    async def end_offsets(self) -> Any:
        self._look()
        ends = await super().end_offsets()
        return {at: end for at, end in ends.items() if at[1] not in self.lost}

    def positions(self) -> Any:
        return {at: o for at, o in super().positions().items() if at[1] not in self.lost}

    async def commit(self) -> None:
        if self.away_for_commits:
            raise LogUnavailableError("no commits now")
        await super().commit()

    def _look(self) -> None:
        if self.away:
            raise LogUnavailableError("nobody answers")


class Collector:
    """Keeps the values it is given; waits while ``held``."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self, records: Sequence[Record]) -> list[Poison]:
        await self.free.wait()
        self.values += [r.value for r in records]
        return []


def fickle(bench: Any, **options: Any) -> Fickle:
    return Fickle(bench.directory, ["events"], **options)


async def until(condition: Callable[[], bool], task: asyncio.Task[Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            assert not task.done(), task
            await asyncio.sleep(0.001)


async def stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def restarts(bench: Any) -> float:
    return float(bench.metrics.value("consumer_restarts_total", consumer="events"))


async def test_what_is_there_is_served_while_the_log_is_away(bench: Any) -> None:
    """One broker's restart must not empty every feed at once."""
    source = fickle(bench)
    task = asyncio.create_task(bench.consumer(Collector(), source=source).run())
    await until(lambda: bench.readiness.serving("svc"), task)
    source.away = True
    await until(lambda: restarts(bench) > 3, task)
    assert bench.readiness.serving("svc")
    source.away = False
    await stop(task)


async def test_news_that_are_too_old_are_served_no_more_until_all_is_caught_up(
    bench: Any, quick: ConsumerOptions
) -> None:
    source, collector = fickle(bench), Collector()
    consumer = bench.consumer(collector, source=source, options=replace(quick, outage_s_max=0.02))
    task = asyncio.create_task(consumer.run())
    await until(lambda: bench.readiness.serving("svc"), task)
    source.away = True
    await until(lambda: "nobody answers" in bench.readiness.state("svc").reason, task)
    bench.write(b"a", b"b", b"c")
    collector.free.clear()
    source.away = False
    await until(lambda: consumer._in_hand != [], task)
    assert not bench.readiness.serving("svc"), "what came meanwhile is not handled yet"
    collector.free.set()
    await until(lambda: bench.readiness.serving("svc"), task)
    assert sorted(collector.values) == [b"a", b"b", b"c"]
    await stop(task)


async def test_a_log_that_is_away_at_the_start_is_named(bench: Any) -> None:
    source = fickle(bench)
    source.away = True
    task = asyncio.create_task(bench.consumer(Collector(), source=source).run())
    await until(lambda: "nobody answers" in bench.readiness.state("svc").reason, task)
    source.away = False
    await until(lambda: bench.readiness.serving("svc"), task)
    await stop(task)


async def test_a_batch_that_an_outage_cut_is_read_again(bench: Any, quick: ConsumerOptions) -> None:
    bench.write(*(b"%d" % i for i in range(20)))
    source, collector = fickle(bench), Collector()
    source.fails_after_polls = 1  # the first poll of the batch succeeds
    options = replace(quick, flush_interval_s=5.0, batch_records=1_000)
    task = asyncio.create_task(bench.consumer(collector, source=source, options=options).run())
    await until(lambda: len(collector.values) >= 20, task)
    assert sorted(collector.values) == sorted(b"%d" % i for i in range(20))
    await stop(task)


async def test_partitions_that_another_member_took_are_not_waited_for(
    bench: Any, quick: ConsumerOptions
) -> None:
    """A feeder that lost partitions while catching up would never say that it is ready."""
    bench.write(*(b"%d" % i for i in range(60)))
    source, collector = fickle(bench), Collector()
    collector.free.clear()
    consumer = bench.consumer(collector, source=source, options=replace(quick, batch_records=1))
    task = asyncio.create_task(consumer.run())
    await until(lambda: consumer._in_hand != [], task)
    source.lost = frozenset({1, 2})
    collector.free.set()
    await until(lambda: bench.readiness.serving("svc"), task)
    await until(lambda: set(consumer.lag) == {("events", 0)}, task)
    await stop(task)


async def test_a_last_commit_that_fails_does_not_hide_that_the_consumer_was_stopped(
    bench: Any, quick: ConsumerOptions, caplog: pytest.LogCaptureFixture
) -> None:
    bench.write(b"a")
    source = fickle(bench, group="g", start="committed")
    options = replace(quick, commit=True, commit_interval_s=1e9)
    consumer = bench.consumer(Collector(), source=source, options=options)
    task = asyncio.create_task(consumer.run())
    await asyncio.wait_for(consumer.caught_up.wait(), 20)
    consumer._uncommitted = True  # as after a batch that came since the last commit
    source.away_for_commits = True
    await stop(task)
    assert "the last commit failed" in caplog.text
