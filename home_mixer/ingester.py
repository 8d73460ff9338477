"""The ingester process: follows the event topics and keeps the feature stores current.

`foryou.served` is not read here: home_mixer itself writes what it served, after the response, so
that the next page knows it at once. Health and /readyz turn SERVING once everything that the
topics held at the start is stored. Log and store may be away at the start, go and return.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from home_mixer.clients.opening import StoreWriter, open_feature_writer
from home_mixer.clients.protocols import StoreError, StoreFormatError
from home_mixer.ingest.handler import FeatureIngester
from home_mixer.ingest.life import READY_AS, IngesterLife
from home_mixer.settings import IngesterSettings
from service_kit.clock import Clock, SystemClock
from service_kit.event_log import EventSink, LogUnavailableError, TopicError
from service_kit.event_logs import open_sink
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server
from service_kit.supervision import supervise

logger = logging.getLogger(__name__)
HOUR_MS = 3600 * 1000


class IngesterProcess:
    """Everything that one ingester owns, opened at start and closed by `stop`."""

    def __init__(
        self, settings: IngesterSettings, metrics: Metrics, readiness: Readiness, clock: Clock
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._readiness = readiness
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: StoreWriter | None = None
        self._dead_letters: EventSink | None = None

    async def start(self) -> None:
        """Open and follow. Raises PositionsError, and StoreError for an unusable directory."""
        settings = self._settings
        self._writer = open_feature_writer(settings, self._clock)
        self._dead_letters = await open_sink(settings, metrics=self._metrics)
        ingester = FeatureIngester(self._writer, self._dead_letters, self._clock, self._metrics)
        life = IngesterLife(
            settings,
            self._writer,
            self._dead_letters,
            ingester,
            clock=self._clock,
            metrics=self._metrics,
            readiness=self._readiness,
        )
        await self._refuse_another_log(life)
        following = supervise(
            life.run,
            name="ingester",
            ready_as=READY_AS,
            readiness=self._readiness,
            metrics=self._metrics,
            clock=self._clock,
        )
        self._tasks = [
            asyncio.create_task(following, name="ingester"),
            asyncio.create_task(self._trim(ingester, self._writer), name="trim"),
        ]

    async def _refuse_another_log(self, life: IngesterLife) -> None:
        """An operator's mistake ends the start; what is away now is waited for."""
        try:
            await life.resume_once()
        except StoreFormatError:
            raise
        except (StoreError, LogUnavailableError, TopicError) as error:
            logger.warning("followed once it is there", extra={"reason": str(error)})

    async def _trim(self, ingester: FeatureIngester, writer: StoreWriter) -> None:
        size = self._metrics.gauge("store_bytes", "Bytes that the feature store uses")
        failures = self._metrics.counter("trim_failures_total", "Trimmings that failed")
        while True:
            try:
                retention_ms = self._settings.post_retention_hours * HOUR_MS
                await ingester.trim(retention_ms, self._settings.trim_posts_max)
                size.set(await asyncio.to_thread(writer.size_bytes))
            except Exception:  # the next round tries again
                failures.inc()
                logger.exception("trimming failed")
            await asyncio.sleep(self._settings.trim_interval_seconds)

    async def stop(self) -> None:
        """Finish the batch under way and close store and log."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
        if self._writer is not None:
            await asyncio.to_thread(self._writer.close)
        if self._dead_letters is not None:
            await self._dead_letters.close()


def main(settings: IngesterSettings) -> int:
    """Runs until SIGTERM or SIGINT; the process's exit code."""
    metrics, readiness = Metrics("ingester"), Readiness()
    metrics.watch_process()
    process = IngesterProcess(settings, metrics, readiness, SystemClock())
    return asyncio.run(
        run_server(
            settings,
            name="ingester",
            register=lambda server: [READY_AS],
            readiness=readiness,
            metrics=metrics,
            on_start=process.start,
            on_drain=process.stop,
        )
    )
