"""Brokers die, hang, restart and elect: nothing that was acknowledged is lost, nobody helps."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from real_parts.kafka import KafkaCluster

from service_kit.consumer import ConsumerOptions
from service_kit.dead_letters import Poison
from service_kit.event_log import LogUnavailableError, Record, event_key
from service_kit.event_logs import open_source

RECOVERY_S_MAX = 120.0  # bounds a failure on a busy machine; seconds on a quiet one


class Collector:
    """Keeps the values it is given."""

    def __init__(self) -> None:
        self.values: set[bytes] = set()

    async def __call__(self, records: Sequence[Record]) -> list[Poison]:
        self.values |= {record.value for record in records}
        return []


class Writer:
    """Appends numbers, each until it is acknowledged."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.acknowledged: set[bytes] = set()
        self.failures = 0

    async def run(self) -> None:
        while True:
            number = len(self.acknowledged)
            entries = [(event_key(i), b"%d %d" % (number, i), 0) for i in range(5)]
            try:
                await self._sink.append_many("events", entries)
            except LogUnavailableError:
                self.failures += 1
                continue
            self.acknowledged |= {value for _, value, _ in entries}
            await asyncio.sleep(0.005)


async def stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What operators read of an outage."""
    return [r for r in caplog.records if r.message.startswith("Kafka does not answer")]


async def test_a_killed_broker_loses_nothing_acknowledged_and_its_return_is_enough(
    kafka_cluster: KafkaCluster, bench_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = bench_of(kafka_cluster.bootstrap_servers)
    await bench.create(partitions=4)
    collector, writer = Collector(), Writer(await bench.sink())
    bench.run(await bench.consumer(collector))
    writing = asyncio.create_task(writer.run())
    (broker,) = kafka_cluster.brokers
    for _ in range(2):
        before = len(writer.acknowledged)
        await bench.until(lambda before=before: len(writer.acknowledged) > before + 100)
        await bench.until(lambda: bench.readiness.serving("svc"), RECOVERY_S_MAX)
        so_far = len(told(caplog))
        await asyncio.to_thread(broker.kill)
        await bench.until(lambda so_far=so_far: len(told(caplog)) > so_far, RECOVERY_S_MAX)
        assert bench.readiness.serving("svc"), "what is there is served while the log is away"
        await asyncio.to_thread(broker.start)
    after = len(writer.acknowledged)
    await bench.until(lambda: len(writer.acknowledged) > after + 100, RECOVERY_S_MAX)
    await stopped(writing)
    await bench.until(lambda: writer.acknowledged <= collector.values, RECOVERY_S_MAX)
    assert 2 <= len(told(caplog)) <= 12, (
        "told by each connection when it notices, not at each attempt"
    )
    assert not [r for r in caplog.records if r.name.startswith("aiokafka")]


async def test_a_leader_that_dies_is_replaced_while_events_flow(
    three_brokers: KafkaCluster, bench_of: Any
) -> None:
    bench = bench_of(three_brokers.bootstrap_servers)
    await bench.create(partitions=3, replicas=3)
    collector, writer = Collector(), Writer(await bench.sink())
    consumer = await bench.consumer(
        collector, group="g", start="committed", options=ConsumerOptions(commit=True)
    )
    bench.run(consumer)
    writing = asyncio.create_task(writer.run())
    await bench.until(lambda: len(writer.acknowledged) > 100, RECOVERY_S_MAX)
    await asyncio.to_thread(three_brokers.brokers[0].kill)  # leads a partition of the three
    before = len(writer.acknowledged)
    await bench.until(lambda: len(writer.acknowledged) > before + 200, RECOVERY_S_MAX)
    await stopped(writing)
    await bench.until(lambda: writer.acknowledged <= collector.values, RECOVERY_S_MAX)
    await bench.until(lambda: sum(consumer.lag.values()) == 0, RECOVERY_S_MAX)


async def test_a_service_may_start_before_its_kafka(
    kafka_cluster: KafkaCluster, bench_of: Any
) -> None:
    bench = bench_of(kafka_cluster.bootstrap_servers)
    await bench.create(partitions=2)
    await (await bench.sink()).append("events", b"k", b"before", 0)
    (broker,) = kafka_cluster.brokers
    await asyncio.to_thread(broker.stop)
    collector = Collector()
    bench.run(await bench.consumer(collector))
    await bench.until(
        lambda: kafka_cluster.bootstrap_servers in bench.readiness.state("svc").reason
    )
    assert not bench.readiness.serving("svc"), "it has not seen a single event yet"
    await asyncio.to_thread(broker.start)
    await bench.until(lambda: bench.readiness.serving("svc"), RECOVERY_S_MAX)
    assert collector.values == {b"before"}


async def test_a_broker_that_hangs_is_waited_for_within_bounds(
    kafka_cluster: KafkaCluster, bench_of: Any
) -> None:
    bench = bench_of(kafka_cluster.bootstrap_servers)
    await bench.create(partitions=2)
    sink = await bench.sink()
    await sink.append("events", b"k", b"one", 0)
    source = await bench.source()
    await bench.read(source, 1)
    (broker,) = kafka_cluster.brokers
    broker.pause()
    try:
        with pytest.raises(LogUnavailableError):
            await asyncio.wait_for(source.end_offsets(), 30)
        with pytest.raises(LogUnavailableError):
            await asyncio.wait_for(sink.append("events", b"k", b"two", 0), 60)
        late = await asyncio.wait_for(open_source(bench.settings, ["events"]), 60)
        bench.kept(late)
    finally:
        broker.resume()
    await sink.append("events", b"k", b"three", 0)
    values = [record.value for record in await bench.read(source, 1)]
    while b"three" not in values:
        values += [record.value for record in await bench.read(source, 1)]
    assert values[-1] == b"three"
    assert {r.value for r in await bench.read(late, 2)} >= {b"one", b"three"}
