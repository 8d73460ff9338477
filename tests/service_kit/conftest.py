"""Parts that the tests of the consumer and the server share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from service_kit.clock import SystemClock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import LogUnavailableError, Record, dead_letter_topic
from service_kit.event_logs import open_sink, open_source
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.settings import ServiceSettings
from service_kit.topics import DAY_MS, TopicSpec, ensure_topics

QUICK = ConsumerOptions(
    flush_interval_s=0.001,
    poll_timeout_s=0.005,
    backoff_s_min=0.001,
    backoff_s_max=0.002,
    lag_interval_s=0.0,
    commit_interval_s=0.0,
)


class Bench:
    """A log in a directory, and consumers of its topic "events"."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer = EmbeddedLogWriter(directory, partitions={"events": 3})
        self.metrics = Metrics("test")
        self.readiness = Readiness()

    def write(self, *values: bytes) -> None:
        self.writer.append_many_sync("events", [(v, v, 7) for v in values])

    def source(self, topic: str = "events", **options: Any) -> EmbeddedLogSource:
        return EmbeddedLogSource(self.directory, [topic], **options)

    def consumer(
        self,
        handler: Any,
        *,
        options: ConsumerOptions = QUICK,
        source: Any = None,
        **others: Any,
    ) -> Consumer:
        return Consumer(
            source or self.source(),
            handler,
            name="events",
            clock=SystemClock(),
            metrics=self.metrics,
            readiness=self.readiness,
            ready_as="svc",
            dead_letters=self.writer,
            options=options,
            **others,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "log")


@pytest.fixture
def quick() -> ConsumerOptions:
    return QUICK


class KafkaBench:
    """Topics of a Kafka, and sinks, sources and consumers of them that are closed at the end."""

    TOPIC = "events"

    def __init__(self, servers: str, directory: Path) -> None:
        self.prefix = f"k{uuid.uuid4().hex[:8]}."
        self.servers = servers
        self.settings = ServiceSettings(
            data_dir=directory, kafka_bootstrap_servers=servers, kafka_topic_prefix=self.prefix
        )
        self.metrics = Metrics("test")
        self.readiness = Readiness()
        self._opened: list[Any] = []
        self._tasks: list[asyncio.Task[Any]] = []

    async def create(
        self, partitions: int = 3, replicas: int = 1, topics: Sequence[str] = (TOPIC,)
    ) -> None:
        """Topics and their dead letters; returns once every broker knows them."""
        await ensure_topics(
            self.settings,
            specs=[TopicSpec(name, "any", DAY_MS) for name in topics]
            + [TopicSpec(dead_letter_topic(name), "any", DAY_MS, 1) for name in topics],
            partitions=partitions,
            replication_factor=replicas,
            wait_s=60,
        )

    async def sink(self) -> Any:
        return self.kept(await open_sink(self.settings, metrics=self.metrics))

    async def source(self, topic: str = TOPIC, **options: Any) -> Any:
        opened = await open_source(self.settings, [topic], metrics=self.metrics, **options)
        return self.kept(opened)

    async def consumer(
        self, handler: Any, *, options: ConsumerOptions | None = None, **source: Any
    ) -> Consumer:
        return Consumer(
            await self.source(**source),
            handler,
            name="events",
            clock=SystemClock(),
            metrics=self.metrics,
            readiness=self.readiness,
            ready_as="svc",
            dead_letters=await self.sink(),
            options=options or ConsumerOptions(),
        )

    def run(self, consumer: Consumer) -> asyncio.Task[Any]:
        task = asyncio.create_task(consumer.run())
        self._tasks.append(task)
        return task

    async def read(self, source: Any, count: int, seconds: float = 60.0) -> list[Record]:
        """At least ``count`` records; an outage is waited out, as a consumer does."""
        records: list[Record] = []
        async with asyncio.timeout(seconds):
            while len(records) < count:
                try:
                    records += await source.poll(1000, 1.0)
                except LogUnavailableError:
                    await asyncio.sleep(0.1)
        return records

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Waits for a condition; consumers that died in the meantime fail the test."""
        async with asyncio.timeout(seconds):
            while not condition():
                for task in self._tasks:
                    assert not task.done(), task
                await asyncio.sleep(0.005)

    def kept(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for item in self._opened:
            with suppress(OSError):
                await item.close()


@pytest.fixture
async def kafka_bench(kafka_bootstrap_servers: str, tmp_path: Path) -> AsyncIterator[KafkaBench]:
    """On the broker that all tests share."""
    bench = KafkaBench(kafka_bootstrap_servers, tmp_path)
    yield bench
    await bench.close()


@pytest.fixture
async def bench_of(tmp_path: Path) -> AsyncIterator[Callable[[str], KafkaBench]]:
    """Makes a bench on the brokers that a test brings."""
    benches: list[KafkaBench] = []

    def make(servers: str) -> KafkaBench:
        benches.append(KafkaBench(servers, tmp_path))
        return benches[-1]

    yield make
    for bench in benches:
        await bench.close()
