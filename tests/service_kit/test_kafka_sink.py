"""What is acknowledged is kept, in order and once; what cannot be written is refused in words."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from real_parts.kafka import KafkaCluster

from service_kit.event_log import (
    RECORD_BYTES_MAX,
    LogUnavailableError,
    RecordTooLargeError,
    TopicError,
    event_key,
)
from service_kit.kafka.admin import ensure_kafka_topics
from service_kit.kafka.link import LogMetrics
from service_kit.kafka.sink import PART_BYTES_MAX, PART_EVENTS_MAX, KafkaSink, parts_of
from service_kit.metrics import Metrics
from service_kit.topics import TopicSpec


async def test_many_events_keep_their_order_by_key_over_many_batches(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=3)
    sink = await kafka_bench.sink()
    padding = b"x" * 500
    sent = [(event_key(i % 50), b"%06d" % i + padding, 0) for i in range(8_000)]
    await sink.append_many("events", sent)
    records = await kafka_bench.read(await kafka_bench.source(), len(sent))
    assert len(records) == len(sent)
    by_key: dict[bytes, list[bytes]] = {}
    for record in records:
        by_key.setdefault(record.key, []).append(record.value)
    assert all(values == sorted(values) for values in by_key.values())


def test_a_large_call_goes_out_in_parts_that_lack_and_repeat_nothing() -> None:
    """One time limit for a million events would call a slow Kafka away."""
    entries = [(b"k", b"x" * size, at) for at, size in enumerate([10] * 50_000 + [900_000] * 30)]
    parts = list(parts_of(entries))
    assert [entry for part in parts for entry in part] == entries
    assert max(len(part) for part in parts) == PART_EVENTS_MAX
    assert max(sum(len(e[1]) for e in part) for part in parts) < PART_BYTES_MAX + RECORD_BYTES_MAX


async def test_tasks_may_share_a_sink(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=2)
    sink = await kafka_bench.sink()
    appends = (sink.append("events", event_key(i), b"%d" % i, 0) for i in range(200))
    await asyncio.gather(*appends)
    records = await kafka_bench.read(await kafka_bench.source(), 200)
    assert sorted(int(r.value) for r in records) == list(range(200))


async def test_a_missing_topic_names_the_command_that_makes_it(kafka_bench: Any) -> None:
    sink = await kafka_bench.sink()
    with pytest.raises(TopicError, match="foryou topics"):
        await sink.append("events", b"k", b"v", 0)
    await kafka_bench.create()
    await sink.append("events", b"k", b"v", 0)


async def test_the_largest_event_fits_and_a_larger_one_is_refused_before_anything_is_sent(
    kafka_bench: Any,
) -> None:
    await kafka_bench.create(partitions=1)
    sink = await kafka_bench.sink()
    largest = (b"k" * 8, b"x" * (RECORD_BYTES_MAX - 8), 0)
    too_large = (b"k" * 8, b"x" * (RECORD_BYTES_MAX - 7), 0)
    with pytest.raises(RecordTooLargeError, match=str(RECORD_BYTES_MAX)):
        await sink.append_many("events", [largest, too_large])
    await sink.append_many("events", [largest, largest, (b"", b"", 0)])
    records = await kafka_bench.read(await kafka_bench.source(), 3)
    assert [len(r.value) for r in records] == [RECORD_BYTES_MAX - 8, RECORD_BYTES_MAX - 8, 0]


async def test_a_kafka_that_is_away_is_said_within_bounds() -> None:
    metrics = Metrics("test")
    sink = KafkaSink("127.0.0.1:1", metrics=LogMetrics.of(metrics), delivery_s=2.0)
    for _ in range(2):
        with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:1.*KAFKA_BOOTSTRAP_SERVERS"):
            await asyncio.wait_for(sink.append("events", b"k", b"v", 0), 30)
    assert metrics.value("event_log_outages_total") == 1, "one outage, however many appends"
    await sink.close()


async def test_an_append_that_is_cancelled_leaves_the_sink_usable(kafka_bench: Any) -> None:
    await kafka_bench.create(partitions=1)
    sink = await kafka_bench.sink()
    appending = asyncio.create_task(sink.append("events", b"k", b"cancelled or not", 0))
    await asyncio.sleep(0)
    appending.cancel()
    await asyncio.gather(appending, return_exceptions=True)
    await sink.append("events", b"k", b"kept", 0)
    records = await kafka_bench.read(await kafka_bench.source(), 1)
    assert records[-1].value == b"kept"


async def test_an_append_that_was_given_up_leaves_no_errors_that_nobody_can_explain(
    kafka_cluster: KafkaCluster,
) -> None:
    unexplained: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unexplained.append(told))
    servers, metrics = kafka_cluster.bootstrap_servers, LogMetrics.of(Metrics("test"))
    await ensure_kafka_topics(
        servers,
        [TopicSpec("events", "any", 60_000)],
        prefix="",
        partitions=3,
        replication_factor=1,
        wait_s=60.0,
    )
    sink = KafkaSink(servers, metrics=metrics, delivery_s=5.0)
    entries = [(event_key(i), b"v", 0) for i in range(100)]
    await sink.append_many("events", entries)
    kafka_cluster.brokers[0].kill()
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            await sink.append_many("events", entries)
    await sink.close()
    gc.collect()
    await asyncio.sleep(0)
    assert [str(told) for told in unexplained] == []
