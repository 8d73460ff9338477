"""Runs thunder: ``python -m thunder.server``, or ``foryou serve thunder``."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

import grpc.aio

from protos import thunder_pb2_grpc
from service_kit.clock import Clock, SystemClock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.dead_letters import known_dead_letters
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import TOPIC_POSTS, dead_letter_topic
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server
from service_kit.settings import exit_code_of
from thunder.ingest import PostIngester, show_sizes_for_ever, trim_for_ever
from thunder.metrics import ThunderMetrics
from thunder.service import SERVICE_NAME, InNetworkPosts
from thunder.settings import ThunderSettings
from thunder.store import PostStore
from thunder.warm_up import warm_up

logger = logging.getLogger(__name__)
NAME = "thunder"


def main(settings: ThunderSettings) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    return asyncio.run(_serve(settings, SystemClock()))


async def _serve(settings: ThunderSettings, clock: Clock) -> int:
    metrics, readiness = Metrics(NAME), Readiness()
    metrics.watch_process()
    thunder = Thunder(settings, clock, metrics, readiness)
    return await run_server(
        settings,
        name=NAME,
        register=thunder.register,
        readiness=readiness,
        metrics=metrics,
        on_start=thunder.start,
        on_drain=thunder.stop,
    )


class Thunder:
    """The store, what feeds it and what serves it, wired in one place."""

    def __init__(
        self, settings: ThunderSettings, clock: Clock, metrics: Metrics, readiness: Readiness
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._started_s = clock.monotonic_s()
        self._metrics = metrics
        self._counters = ThunderMetrics(metrics)
        self._readiness = readiness
        self._tasks: list[asyncio.Task[None]] = []
        self._store = PostStore(
            clock,
            posts_max=settings.posts_max,
            retention_ms=settings.retention_seconds * 1000,
            future_tolerance_ms=settings.future_tolerance_seconds * 1000,
        )
        self._service = InNetworkPosts(
            self._store,
            clock,
            self._counters,
            readiness,
            max_concurrent_requests=settings.max_concurrent_requests,
            query_threads=settings.query_threads,
            request_timeout_ms=settings.request_timeout_ms,
        )
        self._dead_letters = EmbeddedLogWriter(settings.log_dir)

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        thunder_pb2_grpc.add_InNetworkPostsServiceServicer_to_server(self._service, server)
        return [SERVICE_NAME]

    async def start(self) -> None:
        """Compiles the kernels, then follows the posts; SERVING once caught up."""
        await asyncio.to_thread(warm_up, self._clock)
        consumer = await self._consumer()
        self._run(consumer.run())
        self._run(trim_for_ever(self._store, self._counters, self._settings.trim_interval_seconds))
        self._run(show_sizes_for_ever(self._store, self._counters))
        await consumer.caught_up.wait()
        seconds = self._clock.monotonic_s() - self._started_s
        self._counters.start_seconds.set(seconds)
        logger.info("caught up", extra={"seconds": round(seconds, 3)})

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._service.close)
        await self._dead_letters.close()

    async def _consumer(self) -> Consumer:
        dead = EmbeddedLogSource(self._settings.log_dir, [dead_letter_topic(TOPIC_POSTS)])
        return Consumer(
            EmbeddedLogSource(self._settings.log_dir, [TOPIC_POSTS], start="earliest"),
            PostIngester(self._store, self._counters),
            name="posts",
            clock=self._clock,
            metrics=self._metrics,
            readiness=self._readiness,
            ready_as=SERVICE_NAME,
            dead_letters=self._dead_letters,
            known_dead=await known_dead_letters(dead),
            options=ConsumerOptions(
                batch_records=self._settings.batch_records,
                flush_interval_s=self._settings.flush_interval_ms / 1000,
            ),
        )

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


if __name__ == "__main__":
    sys.exit(exit_code_of(ThunderSettings.load, main))
