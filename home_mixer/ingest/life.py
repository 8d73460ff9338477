"""One life of the ingester: resume, follow, and watch that the store keeps what it was given.

It ends when the store has lost anything: the next life resumes from what the store says then,
perhaps from the log's start. Until a store that is being filled has caught up for the first time,
no reader is let in.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from home_mixer.clients.opening import StoreWriter
from home_mixer.clients.protocols import StoreError
from home_mixer.clients.redis.state import StoreLostError
from home_mixer.ingest.decode import INGESTED_TOPICS
from home_mixer.ingest.handler import FeatureIngester
from home_mixer.settings import IngesterSettings
from service_kit.clock import Clock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.event_log import EventSink
from service_kit.event_logs import open_source
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness

logger = logging.getLogger(__name__)
READY_AS = "foryou.ingester"  # its name in grpc.health.v1
STORE_AS = "foryou.ingester.store"  # the store's part in readiness
LOOK_S = 0.5  # between two looks at the store: a flush is noticed within this
BACKOFF_S_MAX = 1.0  # a store that is back is written again within this
# What a batch can fail of is the store, never one record: those were refused while decoding.
NEVER_ONE_BY_ONE = 1 << 62


class IngesterLife:
    """`run` is one life; `supervise` gives it the next one."""

    def __init__(
        self,
        settings: IngesterSettings,
        writer: StoreWriter,
        dead_letters: EventSink,
        ingester: FeatureIngester,
        *,
        clock: Clock,
        metrics: Metrics,
        readiness: Readiness,
    ) -> None:
        self._settings = settings
        self._share = settings.share_of_partitions
        self._writer = writer
        self._dead_letters = dead_letters
        self._ingester = ingester
        self._clock = clock
        self._metrics = metrics
        self._readiness = readiness
        self._losses = metrics.counter(
            "store_losses_total", "Times that the store had lost what it had acknowledged"
        )
        self._failures = metrics.counter("store_failures_total", "Looks at the store that failed")
        self._may_evict = metrics.gauge("store_may_evict", "1: the store may evict when it is full")
        self._filled = metrics.gauge(
            "store_filled", "1: the store is whole, and readers are let in"
        )
        self._let_in = False

    async def run(self) -> None:
        """Until cancelled. Raises `StoreLostError`, and what opening and resuming raise."""
        source = await open_source(
            self._settings, INGESTED_TOPICS, share=self._share, metrics=self._metrics
        )
        try:
            await self._ingester.resume(source, self._share)
            await self._warn()
            consumer = Consumer(
                source,
                self._ingester.handle,
                name="ingester",
                clock=self._clock,
                metrics=self._metrics,
                readiness=self._readiness,
                ready_as=READY_AS,
                dead_letters=self._dead_letters,
                options=self._options(),
            )
            await self._follow(consumer)
        finally:
            await source.close()

    async def resume_once(self) -> None:
        """Raises `PositionsError` for a store of another log, before anything is written."""
        source = await open_source(
            self._settings, INGESTED_TOPICS, share=self._share, metrics=self._metrics
        )
        try:
            await self._ingester.resume(source, self._share)
        finally:
            await source.close()

    def _options(self) -> ConsumerOptions:
        return ConsumerOptions(
            batch_records=self._settings.batch_records,
            flush_interval_s=self._settings.flush_interval_ms / 1000,
            attempts_whole=NEVER_ONE_BY_ONE,
            backoff_s_max=BACKOFF_S_MAX,
        )

    async def _follow(self, consumer: Consumer) -> None:
        self._let_in = False
        self._readiness.set(STORE_AS, False, "the store is being filled")
        following = asyncio.create_task(consumer.run(), name="ingester's consumer")
        caught_up = asyncio.create_task(consumer.caught_up.wait())
        try:
            await asyncio.wait(
                {following, caught_up}, timeout=LOOK_S, return_when="FIRST_COMPLETED"
            )
            while not following.done():
                await self._look(consumer.caught_up.is_set())
                await asyncio.wait({following}, timeout=LOOK_S)
            await following
        finally:
            for task in (following, caught_up):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):  # raised or logged by itself
                    await task

    async def _look(self, caught_up: bool) -> None:
        """Whether the store still has everything; lets readers in once it is filled."""
        try:
            await asyncio.to_thread(self._writer.check)
            if caught_up and not self._let_in:
                self._let_in = await asyncio.to_thread(self._writer.filled, self._share)
        except StoreLostError:
            self._losses.inc()
            self._filled.set(0)
            raise
        except StoreError as error:
            self._failures.inc()
            self._readiness.set(STORE_AS, False, str(error))
            return
        self._filled.set(self._let_in)
        waits = "the store is being filled" + (", by other shares too" if caught_up else "")
        self._readiness.set(STORE_AS, self._let_in, "" if self._let_in else waits)

    async def _warn(self) -> None:
        warnings = await asyncio.to_thread(self._writer.warnings)
        self._may_evict.set(bool(warnings))
        for warning in warnings:
            logger.warning("the store is not safe", extra={"reason": warning})
