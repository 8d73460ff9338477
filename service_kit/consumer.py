"""Supervises a handler over an event source: batches, retries, dead letters, readiness, lag.

The handler gets batches and returns the records it could not use; those go, with the reason, to
``<topic>.dead``. An exception in it is retried with back-off: the batch is read again, larger if
more has come. After ``attempts_whole`` failures the batch is handled record by record, and records
that fail while others succeed are put aside too; when all fail the fault is elsewhere (a disk, a
database), so nothing is put aside and the service stays NOT_SERVING until it works again.
Handlers are idempotent: a record may be handled more than once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from service_kit.clock import Clock
from service_kit.dead_letters import DeadLetters, Place, Poison
from service_kit.event_log import EventSink, EventSource, Record, TopicPartition
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness

logger = logging.getLogger(__name__)
Handler = Callable[[Sequence[Record]], Awaitable[Sequence[Poison]]]


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """``batch_records`` or ``flush_interval_s``, whichever comes first, ends a batch."""

    batch_records: int = 5_000
    flush_interval_s: float = 0.02  # how long a new event may wait for company
    poll_timeout_s: float = 0.5
    commit_interval_s: float = 1.0
    lag_interval_s: float = 1.0
    attempts_whole: int = 3
    backoff_s_min: float = 0.05
    backoff_s_max: float = 5.0
    commit: bool = False  # only for sources with a group


class Consumer:
    """Runs until cancelled. ``caught_up`` is set once everything that existed at the start (any
    number of partitions, however quiet) has been handled."""

    def __init__(
        self,
        source: EventSource,
        handler: Handler,
        *,
        name: str,
        clock: Clock,
        metrics: Metrics,
        readiness: Readiness,
        ready_as: str,
        dead_letters: EventSink,
        known_dead: frozenset[Place] = frozenset(),
        options: ConsumerOptions | None = None,
    ) -> None:
        """``ready_as``: the name in ``readiness`` that this consumer alone sets; ``known_dead``:
        records put aside in an earlier life, for consumers that replay from the start."""
        self._source = source
        self._handler = handler
        self._name = name
        self._clock = clock
        self._readiness = readiness
        self._ready_as = ready_as
        self._dead = DeadLetters(dead_letters, known_dead)
        self._options = options or ConsumerOptions()
        self._metrics = ConsumerMetrics.of(metrics)
        self.caught_up = asyncio.Event()
        self._targets: dict[TopicPartition, int] | None = None
        self._failures = 0
        self._last_error = ""
        self._lag: dict[TopicPartition, int] = {}
        self._handled: dict[TopicPartition, int] = {}
        self._committed_s = self._lag_read_s = float("-inf")
        self._uncommitted = False

    @property
    def lag(self) -> dict[TopicPartition, int]:
        """Records not yet handled, by partition, as last measured."""
        return dict(self._lag)

    @property
    def handled(self) -> dict[TopicPartition, int]:
        """Next offset of every partition after what was handled entirely, its poison put aside
        too: where a consumer that keeps its results may start again."""
        return dict(self._handled)

    async def run(self) -> None:
        """Consumes for ever; cancel to stop (what was handled is committed then).

        Any way out but a cancellation turns readiness off and raises.
        """
        self._readiness.set(self._ready_as, False, f"{self._name} is catching up")
        try:
            while True:
                await self._round()
        except asyncio.CancelledError:
            self._readiness.set(self._ready_as, False, f"{self._name} has stopped")
            await self._commit(force=True)
            raise
        except BaseException as error:
            self._readiness.set(self._ready_as, False, f"{self._name} died: {error}")
            logger.exception("consumer died", extra={"consumer": self._name})
            raise

    async def _round(self) -> None:
        """One batch; a failure rewinds to its start, waits and lets the next round retry."""
        before = dict(self._source.positions())
        try:
            if self._targets is None:
                self._targets = dict(await self._source.end_offsets())
                self._check_caught_up()
            records = await self._gather()
            if records:
                await self._handle(records)
            await self._after_batch()
        except asyncio.CancelledError:
            self._rewind(before)  # what was polled may not be handled: never commit it
            raise
        except Exception as error:  # noqa: BLE001 - counted, logged and visible in readiness
            self._rewind(before)
            await self._back_off(error)

    async def _gather(self) -> list[Record]:
        options = self._options
        records = await self._source.poll(options.batch_records, options.poll_timeout_s)
        flush_at_s = self._clock.monotonic_s() + options.flush_interval_s
        while records and len(records) < options.batch_records:
            left_s = flush_at_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            more = await self._source.poll(options.batch_records - len(records), left_s)
            if not more:
                break
            records += more
        return records

    async def _handle(self, records: Sequence[Record]) -> None:
        started_s = self._clock.monotonic_s()
        if self._failures < self._options.attempts_whole:
            poisons = list(await self._handler(records))
        else:
            poisons = await self._one_by_one(records)
        await self._dead.put_aside(poisons, self._clock.now_ms())
        for poison in poisons:
            self._metrics.poison.labels(poison.record.topic).inc()
        self._metrics.records.labels(self._name).inc(len(records))
        self._metrics.batch_seconds.labels(self._name).observe(
            self._clock.monotonic_s() - started_s
        )
        self._uncommitted = True

    async def _one_by_one(self, records: Sequence[Record]) -> list[Poison]:
        """Finds the records that make the handler fail; raises its error when all of them do."""
        poisons: list[Poison] = []
        failed: list[Exception] = []
        for record in records:
            try:
                poisons += await self._handler([record])
            except Exception as error:  # noqa: BLE001 - put aside with its reason
                failed.append(error)
                poisons.append(Poison(record, f"{type(error).__name__}: {error}"))
        if len(failed) == len(records):
            raise failed[0]
        return poisons

    async def _after_batch(self) -> None:
        self._handled = dict(self._source.positions())
        await self._measure_lag()
        await self._commit()
        if self._failures:
            self._failures, self._last_error = 0, ""
            logger.info("consumer recovered", extra={"consumer": self._name})
            if self.caught_up.is_set():
                self._readiness.set(self._ready_as, True)
        self._check_caught_up()

    def _check_caught_up(self) -> None:
        if self.caught_up.is_set() or self._targets is None:
            return
        positions = self._source.positions()
        if all(positions.get(at, 0) >= end for at, end in self._targets.items()):
            self.caught_up.set()
            self._readiness.set(self._ready_as, True)

    def _rewind(self, positions: dict[TopicPartition, int]) -> None:
        for (topic, partition), offset in self._source.positions().items():
            start = positions.get((topic, partition), 0)  # found on the way: read from its start
            if start != offset:
                self._source.seek(topic, partition, start)

    async def _back_off(self, error: Exception) -> None:
        self._failures += 1
        self._metrics.restarts.labels(self._name).inc()
        reason = f"{self._name} failed {self._failures} times: {type(error).__name__}: {error}"
        self._readiness.set(self._ready_as, False, reason)
        known, self._last_error = self._last_error == repr(error), repr(error)
        logger.warning(
            "consumer restarts",
            extra={"consumer": self._name, "failures": self._failures, "reason": repr(error)},
            exc_info=None if known else error,  # an outage tells where it happened once
        )
        wait_s = self._options.backoff_s_min * 2 ** min(self._failures - 1, 16)
        await asyncio.sleep(min(wait_s, self._options.backoff_s_max))

    async def _measure_lag(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._lag_read_s < self._options.lag_interval_s:
            return
        self._lag_read_s = now_s
        positions, measured_ms = self._source.positions(), self._clock.now_ms()
        for at, end in (await self._source.end_offsets()).items():
            self._lag[at] = max(0, end - positions.get(at, 0))
            self._metrics.lag.labels(at[0], str(at[1])).set(self._lag[at])
        self._metrics.lag_measured.labels(self._name).set(measured_ms / 1000)

    async def _commit(self, force: bool = False) -> None:
        now_s = self._clock.monotonic_s()
        due = force or now_s - self._committed_s >= self._options.commit_interval_s
        if self._options.commit and self._uncommitted and due:
            await self._source.commit()
            self._committed_s, self._uncommitted = now_s, False


@dataclass(frozen=True, slots=True)
class ConsumerMetrics:
    """The metrics that all consumers of one process share."""

    records: Counter
    poison: Counter
    restarts: Counter
    batch_seconds: Histogram
    lag: Gauge
    lag_measured: Gauge

    @staticmethod
    def of(metrics: Metrics) -> ConsumerMetrics:
        """Those of ``metrics``, made at the first consumer."""
        return metrics.once("consumer", ConsumerMetrics._make)

    @staticmethod
    def _make(metrics: Metrics) -> ConsumerMetrics:
        by_consumer = ["consumer"]
        return ConsumerMetrics(
            metrics.counter("consumer_records_total", "Records handled", by_consumer),
            metrics.counter("consumer_poison_total", "Records put aside", ["topic"]),
            metrics.counter("consumer_restarts_total", "Batches that failed", by_consumer),
            metrics.histogram("consumer_batch_seconds", "Time to handle a batch", by_consumer),
            metrics.gauge("consumer_lag_records", "Records not handled", ["topic", "partition"]),
            metrics.gauge(
                "consumer_lag_measured_timestamp_seconds",
                "When the lag was last measured: one that hangs in a batch measures none",
                by_consumer,
            ),
        )
