"""The ingester process: follows the event topics and keeps the feature stores current.

`foryou.served` is not read here: home_mixer itself writes what it served, after the response, so
that the next page knows it at once. Health and /readyz turn SERVING once everything that the
topics held at the start is stored.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from home_mixer.clients.embedded import EmbeddedFeatureWriter
from home_mixer.ingest.decode import INGESTED_TOPICS
from home_mixer.ingest.handler import FeatureIngester
from home_mixer.settings import IngesterSettings
from service_kit.clock import Clock, SystemClock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server

logger = logging.getLogger(__name__)
READY_AS = "foryou.ingester"  # its name in grpc.health.v1
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
        self._writer: EmbeddedFeatureWriter | None = None

    async def start(self) -> None:
        """Open, resume and follow. Raises StoreError, PositionsError."""
        settings = self._settings
        self._writer = EmbeddedFeatureWriter.open(
            settings.features_dir, map_bytes=settings.feature_map_bytes
        )
        log = EmbeddedLogWriter(settings.log_dir)
        ingester = FeatureIngester(self._writer, log, self._clock, self._metrics)
        source = EmbeddedLogSource(settings.log_dir, INGESTED_TOPICS)
        await ingester.resume(source)
        consumer = Consumer(
            source,
            ingester.handle,
            name="ingester",
            clock=self._clock,
            metrics=self._metrics,
            readiness=self._readiness,
            ready_as=READY_AS,
            dead_letters=log,
            options=ConsumerOptions(
                batch_records=settings.batch_records,
                flush_interval_s=settings.flush_interval_ms / 1000,
            ),
        )
        self._tasks = [
            asyncio.create_task(consumer.run(), name="ingester"),
            asyncio.create_task(self._trim(ingester), name="trim"),
        ]

    async def _trim(self, ingester: FeatureIngester) -> None:
        size = self._metrics.gauge("store_bytes", "Bytes of the feature map in use")
        failures = self._metrics.counter("trim_failures_total", "Trimmings that failed")
        while True:
            try:
                retention_ms = self._settings.post_retention_hours * HOUR_MS
                await ingester.trim(retention_ms, self._settings.trim_posts_max)
                assert self._writer is not None
                size.set(self._writer.size_bytes())
            except Exception:  # the next round tries again
                failures.inc()
                logger.exception("trimming failed")
            await asyncio.sleep(self._settings.trim_interval_seconds)

    async def stop(self) -> None:
        """Finish the batch under way and close the store."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
        if self._writer is not None:
            self._writer.close()


def main(settings: IngesterSettings) -> int:
    """Runs until SIGTERM or SIGINT; the process's exit code."""
    metrics, readiness = Metrics("ingester"), Readiness()
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
