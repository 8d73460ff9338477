"""A consumer on a real Kafka: current when it says so, quick when quiet, and nothing lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from service_kit import dead_letters
from service_kit.consumer import ConsumerOptions
from service_kit.dead_letters import Poison
from service_kit.event_log import RECORD_BYTES_MAX, Record, event_key

SERVING_S_MAX = 5.0
VISIBLE_S_MAX = 1.0


class Collector:
    """Keeps the values it is given, and when each came."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.came_s: dict[bytes, float] = {}

    async def __call__(self, records: Sequence[Record]) -> list[Poison]:
        for record in records:
            self.came_s.setdefault(record.value, time.monotonic())
        self.values += [record.value for record in records]
        return [Poison(r, "not understood") for r in records if r.value.startswith(b"odd")]


async def test_a_quiet_topic_serves_soon_and_a_lonely_event_is_seen_at_once(
    kafka_bench: Any,
) -> None:
    """One message an hour on many partitions: the original waited for full batches for ever."""
    await kafka_bench.create(partitions=12)
    sink = await kafka_bench.sink()
    await sink.append("events", event_key(1), b"an hour ago", 0)
    collector = Collector()
    started_s = time.monotonic()
    consumer = await kafka_bench.consumer(collector)
    kafka_bench.run(consumer)
    await kafka_bench.until(lambda: kafka_bench.readiness.serving("svc"))
    assert time.monotonic() - started_s < SERVING_S_MAX
    assert collector.values == [b"an hour ago"]
    waits_s = []
    for number in range(5):
        value = b"now %d" % number
        await sink.append("events", event_key(number), value, 0)
        published_s = time.monotonic()
        await kafka_bench.until(lambda value=value: value in collector.came_s)
        waits_s.append(collector.came_s[value] - published_s)
    assert max(waits_s) < VISIBLE_S_MAX, waits_s


async def test_an_empty_topic_serves(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=12)
    started_s = time.monotonic()
    kafka_bench.run(await kafka_bench.consumer(Collector()))
    await kafka_bench.until(lambda: kafka_bench.readiness.serving("svc"))
    assert time.monotonic() - started_s < SERVING_S_MAX


async def test_a_topic_that_is_missing_is_named_and_followed_once_it_is_made(
    kafka_bench: Any,
) -> None:
    collector = Collector()
    kafka_bench.run(await kafka_bench.consumer(collector))
    reason = lambda: kafka_bench.readiness.state("svc").reason  # noqa: E731 - read again and again
    await kafka_bench.until(lambda: "foryou topics" in reason())
    assert kafka_bench.prefix + "events" in reason()
    await kafka_bench.create()
    await (await kafka_bench.sink()).append("events", b"k", b"v", 0)
    await kafka_bench.until(lambda: kafka_bench.readiness.serving("svc"))
    await kafka_bench.until(lambda: collector.values == [b"v"])


async def test_too_few_partitions_for_the_shares_are_said_in_readiness(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=1)
    kafka_bench.run(await kafka_bench.consumer(Collector(), share=(0, 2)))
    await kafka_bench.until(lambda: "2 shares" in kafka_bench.readiness.state("svc").reason)
    assert not kafka_bench.readiness.serving("svc")


async def test_a_foreign_producers_oversized_event_is_put_aside_and_the_rest_goes_on(
    kafka_bench: Any,
) -> None:
    await kafka_bench.create(partitions=1)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_bench.servers, max_request_size=2 * RECORD_BYTES_MAX
    )
    await producer.start()
    large = b"x" * (RECORD_BYTES_MAX + 1)
    key = b"k" * 3_000
    await producer.send_and_wait(kafka_bench.prefix + "events", large, key)
    await producer.send_and_wait(kafka_bench.prefix + "events", b"after", b"k")
    await producer.stop()
    collector = Collector()
    kafka_bench.run(await kafka_bench.consumer(collector))
    await kafka_bench.until(lambda: kafka_bench.readiness.serving("svc"))
    assert collector.values == [b"after"]
    (letter,) = await kafka_bench.read(await kafka_bench.source("events.dead"), 1)
    header, value = dead_letters.decode(letter.value)
    assert header["value_bytes"] == len(large)
    assert header["key_bytes"] == len(key)
    assert "at most 1000000" in str(header["reason"])
    assert set(value) == {ord("x")}
    assert len(value) > RECORD_BYTES_MAX * 0.9


async def test_poison_is_put_aside_once_with_its_bytes_and_known_at_the_next_start(
    kafka_bench: Any,
) -> None:
    await kafka_bench.create(partitions=2)
    sink = await kafka_bench.sink()
    await sink.append_many("events", [(b"a", b"good", 0), (b"b", b"odd \xff", 0)])
    kafka_bench.run(await kafka_bench.consumer(Collector()))
    await kafka_bench.until(lambda: kafka_bench.readiness.serving("svc"))
    dead = await kafka_bench.source("events.dead")
    (letter,) = await kafka_bench.read(dead, 1)
    header, value = dead_letters.decode(letter.value)
    assert (letter.key, value) == (b"b", b"odd \xff")
    known = await dead_letters.known_dead_letters(await kafka_bench.source("events.dead"))
    assert known == {("events", header["partition"], header["offset"])}


async def test_a_group_commits_what_was_handled_and_goes_on_from_there(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=4)
    sink = await kafka_bench.sink()
    await sink.append_many("events", [(event_key(i), b"%d" % i, 0) for i in range(100)])
    options = ConsumerOptions(commit=True, commit_interval_s=0.0)
    first = Collector()
    one = await kafka_bench.consumer(first, options=options, group="g", start="committed")
    task = asyncio.create_task(one.run())
    await asyncio.wait_for(one.caught_up.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await one._source.close()
    await sink.append("events", event_key(7), b"later", 0)
    second = Collector()
    kafka_bench.run(
        await kafka_bench.consumer(second, options=options, group="g", start="committed")
    )
    await kafka_bench.until(lambda: b"later" in second.values)
    assert sorted(first.values) == sorted(b"%d" % i for i in range(100))
    assert second.values == [b"later"]


async def test_a_group_that_deals_anew_keeps_its_members_ready_and_loses_nothing(
    kafka_bench: Any,
) -> None:
    """A second feeder starts and ends again while events come."""
    await kafka_bench.create(partitions=4)
    sink = await kafka_bench.sink()
    options = ConsumerOptions(commit=True, commit_interval_s=0.0)
    both = Collector()
    kafka_bench.run(await kafka_bench.consumer(both, options=options, group="g", start="committed"))
    await kafka_bench.until(lambda: kafka_bench.readiness.serving("svc"))
    other = await kafka_bench.consumer(both, options=options, group="g", start="committed")
    task = asyncio.create_task(other.run())
    for number in range(20):
        keys = [event_key(i) for i in range(10)]
        await sink.append_many("events", [(key, b"%d " % number + key, 0) for key in keys])
        await kafka_bench.until(lambda want=10 * (number + 1): len(set(both.values)) >= want)
        if number == 10:
            await kafka_bench.until(lambda: len(other._source.positions()) == 2)  # its part
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await other._source.close()
    assert len(set(both.values)) == 200
