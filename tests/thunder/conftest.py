"""A store on a clock that tests move, filled by one-line posts, and an ingester in front of it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from protos import events_pb2, thunder_pb2, thunder_pb2_grpc
from service_kit.clock import Clock, ManualClock, SystemClock
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS, Record, event_key
from service_kit.event_logs import open_sink, open_source
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.topics import PARTITIONS_DEFAULT, TOPICS, ensure_topics
from thunder.feeder import Feeder
from thunder.ingest import PostIngester
from thunder.metrics import ThunderMetrics
from thunder.replica import Thunder
from thunder.service import SERVICE_NAME, InNetworkPosts
from thunder.settings import ThunderSettings
from thunder.store import Found, PostStore, Query

THUNDER_TOPICS = [t for t in TOPICS if t.name.startswith((TOPIC_POSTS, TOPIC_IN_NETWORK))]


class StoreBench:
    """Times are given as ages in ms; ids and authors are small numbers."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.store = PostStore(self.clock, **{"posts_max": 10_000, **options})
        self.metrics = Metrics("thunder")
        self.counters = ThunderMetrics(self.metrics)
        self.ingester = PostIngester(self.store, self.counters)

    def post(self, post_id: int, author: int = 1, age_ms: int = 0, **fields: Any) -> Any:
        """A create event; fields as in ``PostCreate``, ``video=True`` for one."""
        if fields.pop("video", False):
            fields["media"] = [
                events_pb2.Media(kind=events_pb2.Media.KIND_VIDEO, duration_ms=6_000)
            ]
        created_at_ms = self.clock.now_ms() - age_ms
        return events_pb2.PostEvent(
            create=events_pb2.PostCreate(
                post_id=post_id, author_id=author, created_at_ms=created_at_ms, **fields
            )
        )

    def delete(self, post_id: int, age_ms: int = 0) -> Any:
        at_ms = self.clock.now_ms() - age_ms
        return events_pb2.PostEvent(
            delete=events_pb2.PostDelete(post_id=post_id, deleted_at_ms=at_ms)
        )

    def undelete(self, post_id: int, age_ms: int = 0) -> Any:
        at_ms = self.clock.now_ms() - age_ms
        return events_pb2.PostEvent(
            undelete=events_pb2.PostUndelete(post_id=post_id, undeleted_at_ms=at_ms)
        )

    def take(self, *events: Any) -> list[Any]:
        """Ingests the events (or raw bytes) as one batch; returns the poison."""
        values = [e if isinstance(e, bytes) else e.SerializeToString() for e in events]
        key = event_key(1)
        records = [Record(TOPIC_POSTS, 0, i, 0, key, value) for i, value in enumerate(values)]
        return self.ingester.take(records)

    def found(self, *following: int, **options: Any) -> Found:
        out_of_time = options.pop("out_of_time", lambda: False)
        defaults = {"viewer_id": 999, "results_max": 1200}
        excluded = options.pop("excluded", [])
        query = Query(
            following_ids=np.array(following or [1], np.uint64),
            excluded_ids=np.array(excluded, np.uint64),
            **{**defaults, **options},
        )
        return self.store.query(query, out_of_time)

    def ids(self, *following: int, **options: Any) -> list[int]:
        """Post ids in the order of the answer."""
        ids: list[int] = self.found(*following, **options).posts["post_id"].tolist()
        return ids


@pytest.fixture
def bench() -> StoreBench:
    return StoreBench()


@pytest.fixture
def make_bench() -> type[StoreBench]:
    return StoreBench


class Served:
    """The service on a real port of 127.0.0.1, ready, with a client."""

    def __init__(self, bench: StoreBench, readiness: Readiness, stub: Any) -> None:
        self.bench = bench
        self.metrics = bench.metrics
        self.readiness = readiness
        self._stub = stub

    async def ask(self, *following: int, deadline_s: float | None = 20, **fields: Any) -> Any:
        fields = {"user_id": 999, "following_user_ids": following or (1,), **fields}
        request = thunder_pb2.GetInNetworkPostsRequest(**fields)
        return await self._stub.GetInNetworkPosts(request, timeout=deadline_s)


@pytest.fixture
def serve() -> Callable[..., AbstractAsyncContextManager[Served]]:
    @asynccontextmanager
    async def run(clock: Clock | None = None, **options: Any) -> AsyncIterator[Served]:
        bench, readiness = StoreBench(), Readiness()
        limits = {"max_concurrent_requests": 8, "query_threads": 2, "request_timeout_ms": 60_000}
        service = InNetworkPosts(
            bench.store, clock or SystemClock(), bench.counters, readiness, **{**limits, **options}
        )
        server = grpc.aio.server()
        service.add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        readiness.set(SERVICE_NAME, True)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = thunder_pb2_grpc.InNetworkPostsServiceStub(channel)
            yield Served(bench, readiness, stub)
        await server.stop(None)
        service.close()

    return run


class Stage:
    """One thunder in this process: a feeder, or a replica with its store at hand."""

    def __init__(self, settings: ThunderSettings, clock: Clock) -> None:
        self.metrics, self.readiness = Metrics("thunder"), Readiness()
        make = Feeder if settings.mode == "feeder" else Thunder
        self.thunder = make(settings, clock, self.metrics, self.readiness)

    @property
    def store(self) -> PostStore:
        return self.thunder._store

    def ids(self, *following: int) -> list[int]:
        ids: list[int] = self.store.query(Stages.query(following)).posts["post_id"].tolist()
        return ids


class Stages:
    """A deployment on one log; every stage is stopped and every client closed at the end."""

    def __init__(self, directory: Path, partitions: int, **log: str) -> None:
        self._directory = directory
        self._partitions = partitions
        self._log = log
        self._running: list[Stage] = []
        self._opened: list[Any] = []

    def settings(self, **options: Any) -> ThunderSettings:
        fields = {"data_dir": self._directory, "posts_max": 20_000, **self._log, **options}
        return ThunderSettings(**fields)

    @staticmethod
    def query(following: Iterable[int]) -> Query:
        return Query(
            999, np.array(list(following), np.uint64), np.array([], np.uint64), results_max=5_000
        )

    @staticmethod
    def new_metrics() -> Metrics:
        return Metrics("thunder")

    def make(self, mode: str, clock: Clock | None = None, **options: Any) -> Stage:
        return Stage(self.settings(mode=mode, **options), clock or SystemClock())

    async def start(self, mode: str, clock: Clock | None = None, **options: Any) -> Stage:
        """Returns once it serves."""
        stage = self.make(mode, clock, **options)
        self._running.append(stage)
        async with asyncio.timeout(60):
            await stage.thunder.start()
        return stage

    async def stop(self, stage: Stage) -> None:
        self._running.remove(stage)
        await stage.thunder.stop()

    @property
    def snapshots(self) -> Path:
        return self.settings().snapshots_dir

    @asynccontextmanager
    async def anew(self, partitions: int = PARTITIONS_DEFAULT) -> AsyncIterator[Stages]:
        """Another deployment on the same kind of log, with nothing in it."""
        async with deployment(self._directory / "anew", self._log, partitions) as others:
            yield others

    async def until_written(self, topic: str, records: int) -> None:
        """Returns once a topic has so many records at least."""
        source = await self.source([topic])
        async with asyncio.timeout(60):
            while sum((await source.end_offsets()).values()) < records:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def drop_everything(self, topic: str) -> None:
        """Kafka only: what retention does, at once."""
        settings = self.settings()
        ends = await (await self.source([topic])).end_offsets()
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
        await admin.start()
        name = settings.kafka_topic_prefix + topic
        wanted = {
            TopicPartition(name, p): RecordsToDelete(before_offset=end)
            for (_, p), end in ends.items()
        }
        await admin.delete_records(wanted)
        await admin.close()

    async def sink(self) -> Any:
        counts = dict.fromkeys((TOPIC_POSTS, TOPIC_IN_NETWORK), self._partitions)
        sink = await open_sink(self.settings(), partitions=counts)
        self._opened.append(sink)
        return sink

    async def source(self, topics: list[str], **options: Any) -> Any:
        source = await open_source(self.settings(), topics, **options)
        self._opened.append(source)
        return source

    async def write(self, *events: Any) -> None:
        sink = await self.sink()
        values = [e if isinstance(e, bytes) else e.SerializeToString() for e in events]
        entries = [(event_key(i), v, int(time.time() * 1000)) for i, v in enumerate(values)]
        await sink.append_many(TOPIC_POSTS, entries)

    async def read(self, topic: str, count: int) -> list[Record]:
        source = await self.source([topic])
        records: list[Record] = []
        async with asyncio.timeout(30):
            while len(records) < count:
                records += await source.poll(100, 0.5)
        return records

    async def partitions(self, topic: str) -> int:
        return len(await (await self.source([topic])).end_offsets())

    def post(self, post_id: int, author: int = 1, age_ms: int = 0, **fields: Any) -> Any:
        created_at_ms = int(time.time() * 1000) - age_ms
        return events_pb2.PostEvent(
            create=events_pb2.PostCreate(
                post_id=post_id, author_id=author, created_at_ms=created_at_ms, **fields
            )
        )

    def delete(self, post_id: int) -> Any:
        at_ms = int(time.time() * 1000)
        return events_pb2.PostEvent(
            delete=events_pb2.PostDelete(post_id=post_id, author_id=1, deleted_at_ms=at_ms)
        )

    @staticmethod
    async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - a store has no event to wait for
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        for stage in self._running:
            await stage.thunder.stop()
        for item in self._opened:
            await item.close()


@asynccontextmanager
async def deployment(
    directory: Path, log: dict[str, str], partitions: int = PARTITIONS_DEFAULT
) -> AsyncIterator[Stages]:
    """With the topics made; on Kafka under a prefix of its own."""
    if log:
        log = {**log, "kafka_topic_prefix": f"t{uuid.uuid4().hex[:8]}."}
    made = Stages(directory, partitions, **log)
    if log:
        await ensure_topics(made.settings(), specs=THUNDER_TOPICS, partitions=partitions, wait_s=30)
    else:
        for topic in (TOPIC_POSTS, TOPIC_IN_NETWORK):
            await (await made.sink()).append_many(topic, [])
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=["embedded", "kafka"])
async def stages(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stages]:
    """A deployment on each of the two logs in turn."""
    log: dict[str, str] = {}
    if request.param == "kafka":
        log = {"kafka_bootstrap_servers": request.getfixturevalue("kafka_bootstrap_servers")}
    async with deployment(tmp_path, log) as made:
        yield made


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits for a condition, with a deadline."""
    return Stages.until
