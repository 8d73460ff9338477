"""A store on a clock that tests move, filled by one-line posts, and an ingester in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from protos import events_pb2, thunder_pb2, thunder_pb2_grpc
from service_kit.clock import Clock, ManualClock, SystemClock
from service_kit.event_log import TOPIC_POSTS, Record, event_key
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from thunder.ingest import PostIngester
from thunder.metrics import ThunderMetrics
from thunder.service import SERVICE_NAME, InNetworkPosts
from thunder.store import Found, PostStore, Query


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
        thunder_pb2_grpc.add_InNetworkPostsServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        readiness.set(SERVICE_NAME, True)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = thunder_pb2_grpc.InNetworkPostsServiceStub(channel)
            yield Served(bench, readiness, stub)
        await server.stop(None)
        service.close()

    return run
