"""Supervises a handler over an event source: batches, retries, dead letters, readiness, lag.

The handler gets batches and returns the records it could not use; those go, with the reason, to
``<topic>.dead``. An exception in it is retried with back-off: the batch is read again, larger if
more has come. After ``attempts_whole`` failures the batch is handled record by record, and records
that fail while others succeed are put aside too; when all fail the fault is elsewhere (a disk, a
database), so nothing is put aside and the service stays NOT_SERVING until it works again and has
caught up. A log that does not answer is no failure of the handler: what is there is served on for
``outage_s_max``, for events a minute old are better than none.
Handlers are idempotent: a record may be handled more than once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from service_kit.clock import Clock
from service_kit.consumer_metrics import ConsumerMetrics
from service_kit.dead_letters import DeadLetters, Place, Poison
from service_kit.event_log import (
    RECORD_BYTES_MAX,
    EventSink,
    EventSource,
    LogUnavailableError,
    Record,
    TopicError,
    TopicPartition,
)
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.record_batch import RecordBatch

__all__ = ["Consumer", "ConsumerMetrics", "ConsumerOptions", "Handler"]

logger = logging.getLogger(__name__)
LOG_WAIT_S_MAX = 1.0  # between two looks for a log that is away
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
    outage_s_max: float = 300.0  # served without news from the log: nobody can know of deletes
    last_commit_s_max: float = 3.0  # of the time that a process has for its end
    commit: bool = False  # only for sources with a group


class Consumer:
    """Runs until cancelled. ``caught_up`` is set once everything that existed at the start (any
    number of partitions, however quiet) has been handled. Partitions may come and go: those that
    a group gives to another member are neither waited for nor counted."""

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
        self._in_hand = RecordBatch()  # polled and not yet handled
        self._current = False  # caught up since the last failure
        self._failures = 0
        self._last_error = ""
        self._away_since_s: float | None = None
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
            await self._last_commit()
            raise
        except BaseException as error:
            self._readiness.set(self._ready_as, False, f"{self._name} died: {error}")
            logger.exception("consumer died", extra={"consumer": self._name})
            raise

    async def _round(self) -> None:
        """One batch; a failure rewinds to its start, waits and lets the next round retry."""
        try:
            if self._targets is None:
                self._targets = dict(await self._source.end_offsets())
                self._check_caught_up()
            await self._gather()
            if self._in_hand:
                await self._handle(self._in_hand)
                self._in_hand = RecordBatch()
            await self._after_batch()
        except asyncio.CancelledError:
            self._rewind()  # what was polled may not be handled: never commit it
            raise
        except LogUnavailableError as error:
            self._rewind()
            await self._wait_for_log(error)
        except Exception as error:  # noqa: BLE001 - counted, logged and visible in readiness
            self._rewind()
            await self._back_off(error)

    async def _gather(self) -> None:
        options = self._options
        self._in_hand = await self._source.poll_batch(options.batch_records, options.poll_timeout_s)
        flush_at_s = self._clock.monotonic_s() + options.flush_interval_s
        while self._in_hand and len(self._in_hand) < options.batch_records:
            left_s = flush_at_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            wanted = options.batch_records - len(self._in_hand)
            more = await self._source.poll_batch(wanted, left_s)
            if not more:
                break
            self._in_hand += more

    async def _handle(self, batch: RecordBatch) -> None:
        started_s = self._clock.monotonic_s()
        records, poisons = _without_oversized(batch)
        if self._failures < self._options.attempts_whole:
            poisons += await self._handler(records) if records else []
        else:
            poisons += await self._one_by_one(records)
        await self._dead.put_aside(poisons, self._clock.now_ms())
        for poison in poisons:
            self._metrics.poison.labels(poison.record.topic).inc()
        self._metrics.records.labels(self._name).inc(len(self._in_hand))
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
            except (OSError, TopicError):
                raise  # a log, a network, a disk: no record's fault, even where others succeed
            except Exception as error:  # noqa: BLE001 - put aside with its reason
                failed.append(error)
                poisons.append(Poison(record, f"{type(error).__name__}: {error}"))
        if failed and len(failed) == len(records):
            raise failed[0]
        return poisons

    async def _after_batch(self) -> None:
        self._handled = dict(self._source.positions())
        answered = await self._measure_lag()
        await self._commit()
        if self._failures or (self._away_since_s is not None and answered):
            self._failures, self._last_error, self._away_since_s = 0, "", None
            logger.info("consumer recovered", extra={"consumer": self._name})
        self._check_caught_up()

    def _check_caught_up(self) -> None:
        if self._current or self._targets is None:
            return
        positions = self._source.positions()
        if all(positions.get(at, 0) >= end for at, end in self._targets.items()):
            self._current = True
            self.caught_up.set()
            self._readiness.set(self._ready_as, True)

    def _rewind(self) -> None:
        """Back to the first record in hand of each partition."""
        in_hand, self._in_hand = self._in_hand, RecordBatch()
        for (topic, partition), offset in in_hand.firsts().items():
            self._source.seek(topic, partition, offset)

    def _not_current(self, reason: str) -> None:
        """Serving again takes catching up with what exists by then."""
        self._readiness.set(self._ready_as, False, reason)
        self._current, self._targets = False, None

    async def _wait_for_log(self, error: LogUnavailableError) -> None:
        """The log is away. Not current: not ready; else ready until that has lasted too long."""
        now_s = self._clock.monotonic_s()
        self._away_since_s = now_s if self._away_since_s is None else self._away_since_s
        self._lag_read_s = float("-inf")  # the next round asks: a silent poll is no sign of life
        self._metrics.restarts.labels(self._name).inc()
        away_s = now_s - self._away_since_s
        if not self._current or away_s > self._options.outage_s_max:
            self._not_current(f"{self._name} has no news for {away_s:.0f} s: {error}")
        await asyncio.sleep(min(LOG_WAIT_S_MAX, max(self._options.backoff_s_min, away_s)))

    async def _back_off(self, error: Exception) -> None:
        self._failures += 1
        self._metrics.restarts.labels(self._name).inc()
        reason = f"{self._name} failed {self._failures} times: {type(error).__name__}: {error}"
        self._not_current(reason)
        known, self._last_error = self._last_error == repr(error), repr(error)
        logger.warning(
            "consumer restarts",
            extra={"consumer": self._name, "failures": self._failures, "reason": repr(error)},
            exc_info=None if known else error,  # an outage tells where it happened once
        )
        wait_s = self._options.backoff_s_min * 2 ** min(self._failures - 1, 16)
        await asyncio.sleep(min(wait_s, self._options.backoff_s_max))

    async def _measure_lag(self) -> bool:
        """Now and then; whether it did, and so heard of the log."""
        now_s = self._clock.monotonic_s()
        if now_s - self._lag_read_s < self._options.lag_interval_s:
            return False
        self._lag_read_s = now_s
        positions, measured_ms = self._source.positions(), self._clock.now_ms()
        ends = await self._source.end_offsets()
        for at in self._lag.keys() - ends.keys():  # another member's now
            self._metrics.lag.remove(at[0], str(at[1]))
        self._lag = {at: max(0, end - positions.get(at, 0)) for at, end in ends.items()}
        for at, lag in self._lag.items():
            self._metrics.lag.labels(at[0], str(at[1])).set(lag)
        if self._targets is not None:
            self._targets = {at: end for at, end in self._targets.items() if at in ends}
        self._metrics.lag_measured.labels(self._name).set(measured_ms / 1000)
        return True

    async def _last_commit(self) -> None:
        try:
            async with asyncio.timeout(self._options.last_commit_s_max):
                await self._commit(force=True)
        except OSError as error:  # LogUnavailableError and TimeoutError are
            logger.warning(
                "the last commit failed: what came after the one before is read again",
                extra={"consumer": self._name, "reason": str(error)},
            )

    async def _commit(self, force: bool = False) -> None:
        now_s = self._clock.monotonic_s()
        due = force or now_s - self._committed_s >= self._options.commit_interval_s
        if self._options.commit and self._uncommitted and due:
            await self._source.commit()
            self._committed_s, self._uncommitted = now_s, False


def _without_oversized(records: RecordBatch) -> tuple[Sequence[Record], list[Poison]]:
    """Foreign producers may exceed our limit; no handler has to cope with that."""
    if records.bytes_bound() <= RECORD_BYTES_MAX:
        return records, []
    large = [r for r in records if len(r.key) + len(r.value) > RECORD_BYTES_MAX]
    if not large:
        return records, []
    reason = "record of {} bytes: at most {} (key + value)"
    poisons = [Poison(r, reason.format(len(r.key) + len(r.value), RECORD_BYTES_MAX)) for r in large]
    return [r for r in records if len(r.key) + len(r.value) <= RECORD_BYTES_MAX], poisons
