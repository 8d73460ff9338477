"""The first of thunder's two stages: ``foryou.posts`` to the compact in-network topic.

It keeps nothing. A batch counts as handled once the log has acknowledged what was made of it; the
group's offsets are committed after that, so a feeder that dies repeats and never loses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import grpc.aio

from service_kit.clock import Clock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.dead_letters import Poison
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS, EventSink, EventSource, Record
from service_kit.event_logs import open_sink, open_source
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.supervision import supervise
from service_kit.topics import PARTITIONS_DEFAULT
from thunder.events import decode_batch
from thunder.in_network import encode
from thunder.ingest import run_and_tell
from thunder.metrics import FeederMetrics
from thunder.settings import ThunderSettings

logger = logging.getLogger(__name__)
FEEDER_NAME: Final = "foryou.thunder.feeder"  # in grpc.health.v1
GROUP: Final = "thunder-feeder"
RESTART_S: Final = (0.1, 2.0)  # shortest and longest wait before the posts are followed anew


class FeedHandler:
    """Handler for a ``Consumer`` of ``foryou.posts``; idempotent in what its readers make of it."""

    def __init__(
        self, sink: EventSink, partitions: int, clock: Clock, metrics: FeederMetrics
    ) -> None:
        """``partitions``: of the in-network topic."""
        self._sink = sink
        self._partitions = partitions
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, records: Sequence[Record]) -> list[Poison]:
        """Returns once everything is acknowledged; raises what the sink raises."""
        batch, poisons = await asyncio.to_thread(decode_batch, records)
        now_ms = self._clock.now_ms()
        entries = await asyncio.to_thread(encode, batch, self._partitions, now_ms)
        started_s = self._clock.monotonic_s()
        if entries:
            await self._sink.append_many(TOPIC_IN_NETWORK, entries)
            await self._sink.flush()
        self._metrics.send_seconds.observe(self._clock.monotonic_s() - started_s)
        passed_over = sum(batch.passed_over.values())
        self._metrics.records.inc(len(entries))
        self._metrics.events.labels("poison").inc(len(poisons))
        self._metrics.events.labels("passed_over").inc(passed_over)
        self._metrics.events.labels("fed").inc(len(records) - len(poisons) - passed_over)
        return poisons


class Feeder:
    """The process's parts, wired in one place."""

    def __init__(
        self, settings: ThunderSettings, clock: Clock, metrics: Metrics, readiness: Readiness
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._counters = FeederMetrics(metrics)
        self._readiness = readiness
        self._tasks: list[asyncio.Task[None]] = []
        self._caught_up = asyncio.Event()

    def register(self, _: grpc.aio.Server) -> Sequence[str]:
        """Health only: nobody calls a feeder."""
        return [FEEDER_NAME]

    async def start(self) -> None:
        """Follows the posts from where its group stopped; SERVING once caught up."""
        self._run(
            supervise(
                self._feed,
                name="feeder",
                ready_as=FEEDER_NAME,
                readiness=self._readiness,
                metrics=self._metrics,
                clock=self._clock,
                backoff_s=RESTART_S,
            )
        )
        await self._caught_up.wait()
        logger.info("caught up")

    async def stop(self) -> None:
        """Ends the tasks; what was handled is committed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _feed(self) -> None:
        """One life of the consumer, with clients of its own."""
        settings, partitions = self._settings, await self._partitions()
        sink = await open_sink(
            settings, partitions={TOPIC_IN_NETWORK: partitions}, metrics=self._metrics
        )
        try:
            source = await open_source(
                settings, [TOPIC_POSTS], group=GROUP, start="committed", metrics=self._metrics
            )
            try:
                consumer = self._make_consumer(source, sink, partitions)
                await run_and_tell(consumer, self._caught_up)
            finally:
                await source.close()
        finally:
            await sink.close()

    def _make_consumer(self, source: EventSource, sink: EventSink, partitions: int) -> Consumer:
        return Consumer(
            source,
            FeedHandler(sink, partitions, self._clock, self._counters),
            name="feeder",
            clock=self._clock,
            metrics=self._metrics,
            readiness=self._readiness,
            ready_as=FEEDER_NAME,
            dead_letters=sink,
            options=ConsumerOptions(
                batch_records=self._settings.batch_records,
                flush_interval_s=self._settings.flush_interval_ms / 1000,
                commit=True,
            ),
        )

    async def _partitions(self) -> int:
        """Those of the in-network topic; a topic of the embedded log that nobody wrote yet gets
        the default number."""
        source = await open_source(self._settings, [TOPIC_IN_NETWORK])
        try:
            return len(await source.end_offsets()) or PARTITIONS_DEFAULT
        finally:
            await source.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))
