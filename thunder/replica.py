"""A thunder that answers: the store, what feeds it, what serves it and its snapshots, wired.

``standalone`` reads ``foryou.posts`` itself; ``serving`` reads the feeder's compact topic, whole or
one share of it. Both begin with the newest usable snapshot and go on from its offsets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import grpc.aio

from service_kit.clock import Clock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.dead_letters import Place, known_dead_letters
from service_kit.event_log import (
    TOPIC_IN_NETWORK,
    TOPIC_POSTS,
    EventSink,
    EventSource,
    dead_letter_topic,
)
from service_kit.event_logs import open_sink, open_source
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.supervision import supervise
from thunder.events import decode_batch
from thunder.in_network import decode_in_network
from thunder.ingest import PostIngester, run_and_tell, show_sizes_for_ever, trim_for_ever
from thunder.log_identity import same_log
from thunder.metrics import ThunderMetrics
from thunder.service import SERVICE_NAME, InNetworkPosts
from thunder.settings import ThunderSettings
from thunder.shares import Share
from thunder.snapshot import LogBounds, Positions, Snapshots, Stand
from thunder.steady_clock import SteadyClock
from thunder.store import PostStore
from thunder.warm_up import warm_up

logger = logging.getLogger(__name__)
# Of the time that a drain keeps for flushing; the rest is for the disk to finish what was written.
DRAIN_SNAPSHOT_SHARE: Final = 0.7
RESTART_S: Final = (0.1, 2.0)  # shortest and longest wait before the topic is followed anew


class Thunder:
    """Everything that one answering replica owns, opened by `start` and closed by `stop`."""

    def __init__(
        self, settings: ThunderSettings, clock: Clock, metrics: Metrics, readiness: Readiness
    ) -> None:
        self._settings = settings
        self._clock = SteadyClock(clock)
        self._started_s = clock.monotonic_s()
        self._metrics = metrics
        self._counters = ThunderMetrics(metrics)
        self._readiness = readiness
        self._tasks: list[asyncio.Task[None]] = []
        self._share = Share.parse(settings.share)
        compact = settings.mode == "serving"
        self._topic = TOPIC_IN_NETWORK if compact else TOPIC_POSTS
        self._store = PostStore(
            self._clock,
            posts_max=settings.posts_max,
            retention_ms=settings.retention_seconds * 1000,
            future_tolerance_ms=settings.future_tolerance_seconds * 1000,
        )
        decode = decode_in_network if compact else decode_batch
        self._ingester = PostIngester(self._store, self._counters, decode, self._share)
        self._service = InNetworkPosts(
            self._store,
            self._clock,
            self._counters,
            readiness,
            share=self._share,
            max_concurrent_requests=settings.max_concurrent_requests,
            query_threads=settings.query_threads,
            request_timeout_ms=settings.request_timeout_ms,
        )
        self._snapshots = Snapshots(
            settings.snapshots_dir, self._topic, self._share, self._clock, self._counters.snapshots
        )
        self._sink: EventSink | None = None
        self._consumer: Consumer | None = None
        self._caught_up = asyncio.Event()
        self._restored = False
        self._saved: Positions = {}  # those of the newest snapshot

    def register(self, server: grpc.aio.Server) -> Sequence[str]:
        self._service.add_to(server)
        return [SERVICE_NAME]

    async def start(self) -> None:
        """Compiles the kernels, restores, follows the topic; SERVING once caught up."""
        settings = self._settings
        await asyncio.to_thread(warm_up, self._clock)
        self._sink = await open_sink(settings, metrics=self._metrics)
        self._run(
            supervise(
                self._follow,
                name="posts",
                ready_as=SERVICE_NAME,
                readiness=self._readiness,
                metrics=self._metrics,
                clock=self._clock,
                backoff_s=RESTART_S,
            )
        )
        self._run(trim_for_ever(self._store, self._counters, settings.trim_interval_seconds))
        self._run(show_sizes_for_ever(self._store, self._counters, self._clock))
        await self._caught_up.wait()
        seconds = self._clock.monotonic_s() - self._started_s
        self._counters.start_seconds.set(seconds)
        logger.info("caught up", extra={"seconds": round(seconds, 3)})
        if settings.snapshot_interval_seconds:
            self._run(self._snapshot_for_ever())

    async def stop(self) -> None:
        """Ends the tasks, writes what the next start goes on from, lets go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._caught_up.is_set():
            seconds_max = self._settings.flush_seconds * DRAIN_SNAPSHOT_SHARE
            await self._snapshot(seconds_max, in_place=True)  # nothing is inserted any more
        await asyncio.to_thread(self._service.close)
        if self._sink is not None:
            await self._sink.close()

    async def _follow(self) -> None:
        """One life of the consumer: the first begins with a snapshot, later ones go on."""
        settings = self._settings
        share = self._share.index, self._share.count
        source = await open_source(
            settings, [self._topic], start="earliest", share=share, metrics=self._metrics
        )
        try:
            for (topic, partition), offset in (await self._begin(source)).items():
                source.seek(topic, partition, offset)
            self._consumer = await self._make_consumer(source)
            await run_and_tell(self._consumer, self._caught_up)
        finally:
            await source.close()

    async def _begin(self, source: EventSource) -> Positions:
        """Where to read from: what an earlier life handled, else what the snapshot stands for."""
        if self._consumer is not None:
            return {**self._saved, **self._consumer.handled}
        if not self._restored and self._settings.snapshot_interval_seconds:
            self._saved = await self._restore(source)
        self._restored = True
        return self._saved

    async def _restore(self, source: EventSource) -> Positions:
        ends = await source.end_offsets()
        bounds = LogBounds(await source.start_offsets(), ends)
        stand = await asyncio.to_thread(self._snapshots.restore, self._store, bounds)
        if not stand.marks:
            return stand.positions
        known = await same_log(source, stand.marks, bounds.starts)
        if not known:
            await asyncio.to_thread(self._snapshots.reject, self._store)
        return {**bounds.starts, **(stand.positions if known else {})}

    async def _make_consumer(self, source: EventSource) -> Consumer:
        settings = self._settings
        sink = self._sink
        assert sink is not None, "start opens it"
        return Consumer(
            source,
            self._ingester,
            name="posts",
            clock=self._clock,
            metrics=self._metrics,
            readiness=self._readiness,
            ready_as=SERVICE_NAME,
            dead_letters=sink,
            known_dead=await self._known_dead(),
            options=ConsumerOptions(
                batch_records=settings.batch_records,
                flush_interval_s=settings.flush_interval_ms / 1000,
            ),
        )

    async def _known_dead(self) -> frozenset[Place]:
        dead = await open_source(self._settings, [dead_letter_topic(self._topic)])
        try:
            return await known_dead_letters(dead)
        finally:
            await dead.close()

    async def _snapshot_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._settings.snapshot_interval_seconds)
            await self._snapshot(
                self._settings.snapshot_interval_seconds,
                in_place=self._settings.snapshot_in_place,
            )

    async def _snapshot(self, seconds_max: float, *, in_place: bool) -> None:
        """Writes one where anything was read since the last."""
        if self._consumer is None or not self._settings.snapshot_interval_seconds:
            return
        positions = self._consumer.handled
        if positions == self._saved:
            return
        until_s = self._clock.monotonic_s() + seconds_max
        written = await asyncio.to_thread(
            self._snapshots.write,
            self._store,
            Stand(positions, self._ingester.marks),
            lambda: self._clock.monotonic_s() < until_s,
            in_place=in_place,
        )
        if written:
            self._saved = positions

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))
