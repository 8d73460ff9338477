"""From a topic to posts that a query finds: our way, with an object an event, and Kafka alone.

Every run reads the whole topic from its start into an empty store, as a replica without a snapshot
does, through the parts that `thunder.replica` wires. Connecting is not timed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from numpy.typing import NDArray

from benchmarks.ingest.workload import Workload
from service_kit.clock import SystemClock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS, EventSink, Record
from service_kit.event_logs import open_sink, open_source
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.record_batch import RecordBatch, Run
from service_kit.settings import ServiceSettings
from service_kit.topics import DAY_MS, TopicSpec, ensure_topics
from thunder import layout
from thunder.feeder import FeedHandler
from thunder.ingest import Decode, PostIngester
from thunder.metrics import FeederMetrics, ThunderMetrics
from thunder.store import PostStore

BATCH_RECORDS = 5_000  # thunder's own setting
FLUSH_S = 0.02
SENT_AT_ONCE = 20_000
RUN_S_MAX = 300.0
FETCH_BYTES_MAX = 2 << 20  # of our source, for Kafka alone too


async def publish(settings: ServiceSettings, workload: Workload, partitions: int) -> None:
    """The workload into its topic, which is made, and the compact one with it."""
    if settings.kafka_bootstrap_servers:
        specs = [TopicSpec(name, "author", DAY_MS) for name in (TOPIC_IN_NETWORK, TOPIC_POSTS)]
        await ensure_topics(settings, specs=specs, partitions=partitions, wait_s=60)
    sink = await open_sink(settings, partitions={workload.topic: partitions})
    now_ms = SystemClock().now_ms()
    for begin in range(0, len(workload.values), SENT_AT_ONCE):
        entries = workload.entries(begin, begin + SENT_AT_ONCE, now_ms)
        await sink.append_many(workload.topic, entries)
    await sink.close()


async def kafka_alone(settings: ServiceSettings, partitions: int, count: int) -> float:
    """Seconds of aiokafka's `getmany` for ``count`` records, which are then thrown away."""
    client = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
    )
    await client.start()
    topic = settings.kafka_topic_prefix + TOPIC_IN_NETWORK
    client.assign([TopicPartition(topic, number) for number in range(partitions)])
    got, started = 0, time.perf_counter()
    while got < count:
        batches = await client.getmany(timeout_ms=1_000, max_records=BATCH_RECORDS)
        got += sum(map(len, batches.values()))
    seconds = time.perf_counter() - started
    await client.stop()
    return seconds


@asynccontextmanager
async def consumer_into(
    settings: ServiceSettings, store: PostStore, decode: Decode, topic: str = TOPIC_IN_NETWORK
) -> AsyncIterator[asyncio.Event]:
    """A replica's consumer while the block runs; the event is set once it has caught up."""
    metrics = Metrics("thunder")
    sink = await open_sink(settings, metrics=metrics)
    handler = PostIngester(store, ThunderMetrics(metrics), decode)
    async with _consumer(settings, topic, handler, sink, metrics) as caught_up:
        yield caught_up


@asynccontextmanager
async def _consumer(
    settings: ServiceSettings, topic: str, handler: Any, sink: EventSink, metrics: Metrics
) -> AsyncIterator[asyncio.Event]:
    """Follows a topic from its start while the block runs; closes ``sink`` at its end."""
    source = await open_source(settings, [topic], metrics=metrics)
    consumer = Consumer(
        source,
        handler,
        name="posts",
        clock=SystemClock(),
        metrics=metrics,
        readiness=Readiness(),
        ready_as="posts",
        dead_letters=sink,
        options=ConsumerOptions(batch_records=BATCH_RECORDS, flush_interval_s=FLUSH_S),
    )
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer.caught_up
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await source.close()
        await sink.close()


async def into_store(
    settings: ServiceSettings, posts_max: int, decode: Decode, topic: str = TOPIC_IN_NETWORK
) -> tuple[float, PostStore]:
    """Seconds until a consumer has caught up with the topic, and what it filled."""
    store = PostStore(SystemClock(), posts_max=posts_max)
    async with consumer_into(settings, store, decode, topic) as caught_up:
        return await _seconds_until(caught_up), store


async def through_feeder(settings: ServiceSettings, partitions: int) -> float:
    """Seconds until a feeder's consumer has brought all of ``foryou.posts`` into the compact
    topic, acknowledged."""
    metrics = Metrics("thunder")
    sink = await open_sink(settings, partitions={TOPIC_IN_NETWORK: partitions}, metrics=metrics)
    handler = FeedHandler(sink, partitions, SystemClock(), FeederMetrics(metrics))
    async with _consumer(settings, TOPIC_POSTS, handler, sink, metrics) as caught_up:
        return await _seconds_until(caught_up)


async def _seconds_until(caught_up: asyncio.Event) -> float:
    started = time.perf_counter()
    async with asyncio.timeout(RUN_S_MAX):
        await caught_up.wait()
    return time.perf_counter() - started


def batches_of(workload: Workload) -> list[RecordBatch]:
    """As a source brings them, without a log."""
    batches = []
    for begin in range(0, len(workload.values), BATCH_RECORDS):
        part = slice(begin, begin + BATCH_RECORDS)
        pairs = zip(workload.keys[part], workload.values[part], strict=True)
        rows = [Record("t", 0, i, 0, key, value) for i, (key, value) in enumerate(pairs)]
        batches.append(RecordBatch([Run("t", 0, rows)]))
    return batches


def decode_and_insert(batches: Sequence[RecordBatch], posts_max: int, decode: Decode) -> PostStore:
    """What is left of ingestion where the log costs nothing."""
    store = PostStore(SystemClock(), posts_max=posts_max)
    for records in batches:
        batch, _ = decode(records)
        store.insert(batch.posts(), batch.flags())
    return store


def check_holds(store: PostStore, workload: Workload, who: str) -> None:
    """ValueError unless the store holds the workload's posts and flags, and nothing else."""
    with store.frozen() as state:
        count = int(state.numbers[layout.ROWS_USED])
        rows, flags = state.rows[:count], state.flags[:count]
        found, expected = _ordered(rows, flags), _ordered(workload.posts, workload.flags)
        for mine, theirs in zip(found, expected, strict=True):
            if not np.array_equal(mine, theirs):
                raise ValueError(
                    f"{who} holds {len(rows)} posts that are not the {len(workload.posts)} "
                    "published: its time would be that of another work"
                )


def _ordered(
    posts: NDArray[np.void], flags: NDArray[np.uint8]
) -> tuple[NDArray[np.void], NDArray[np.uint8]]:
    order = np.argsort(posts["post_id"])
    return posts[order], flags[order]


def in_turns(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds by contestant of runs that say themselves how long they took."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            seconds[name].append(contestant())
    return seconds
