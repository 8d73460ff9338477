"""Stops asking a dependency that does not answer, so that its time-outs do not burn every feed.

One breaker a dependency. CLOSED: calls pass, and failures are counted, in a row and over a sliding
window. When too many follow one another (it is gone), or their share is too high (it is ill), the
breaker OPENs: calls fail at once with the reason ``circuit_open``. After a while
it is HALF_OPEN: one call at a time is made all the same, to probe; enough probes that succeed
close it, one that fails opens it again. Nobody waits for a probe: it runs beside the feed that
gave it, which goes on without the dependency as all others do.

A failure is the dependency's: unreachable, too late, or unable to answer. A refusal of what was
asked (INVALID_ARGUMENT) is an answer. "Too late" counts only when the call had a fair time to wait:
a caller in a hurry, or a request whose time went elsewhere, says nothing about the dependency.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
import grpc.aio

from candidate_pipeline.errors import Degraded
from home_mixer.clients.protocols import StoreError
from service_kit.clock import Clock
from service_kit.metrics import Metrics

logger = logging.getLogger(__name__)

REASON_OPEN = "circuit_open"
WINDOW_BUCKETS = 10  # a failure leaves the window within a tenth of its length
FAIR_SHARE = 0.5  # of a dependency's own budget: less was too short to blame it for a time-out

_FAILED = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})

T = TypeVar("T")


class CircuitOpen(Degraded):
    """The call was not made: its dependency has failed too often lately."""

    def __init__(self, dependency: str) -> None:
        super().__init__(REASON_OPEN)
        self.dependency = dependency

    def __str__(self) -> str:
        return f"{self.dependency}: {REASON_OPEN}"


class State(enum.IntEnum):
    """The number is the gauge's."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerLimits:
    """When a breaker opens and closes."""

    window_seconds: float
    failure_share: float  # in (0, 1]: opens at this share of the window's calls
    calls_min: int  # fewer in the window prove nothing
    failures_in_a_row: int  # open it whatever the window holds of better times
    open_seconds: float
    probes: int  # successes in a row that close it


class BreakerMetrics:
    """State and transitions of all breakers of a process."""

    def __init__(self, metrics: Metrics) -> None:
        self.state = metrics.gauge(
            "circuit_state", "Of a dependency's breaker: 0 closed, 1 half open, 2 open", ("to",)
        )
        self.transitions = metrics.counter(
            "circuit_transitions_total", "Changes of a breaker's state", ("to", "state")
        )
        self.refused = metrics.counter(
            "circuit_refused_total", "Calls that an open breaker did not make", ("to",)
        )


class Window:
    """Calls and failures of the last ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._bucket_s = seconds / WINDOW_BUCKETS
        self._newest = 0
        self.clear()

    def clear(self) -> None:
        self._calls, self._failures = [0] * WINDOW_BUCKETS, [0] * WINDOW_BUCKETS

    def add(self, now_s: float, *, failed: bool) -> None:
        bucket = int(now_s / self._bucket_s)
        passed = min(bucket - self._newest, WINDOW_BUCKETS)
        for old in range(bucket - passed + 1, bucket + 1):
            self._calls[old % WINDOW_BUCKETS] = self._failures[old % WINDOW_BUCKETS] = 0
        self._newest = max(bucket, self._newest)
        self._calls[bucket % WINDOW_BUCKETS] += 1
        self._failures[bucket % WINDOW_BUCKETS] += failed

    def totals(self) -> tuple[int, int]:
        """(calls, failures), as of the last `add`."""
        return sum(self._calls), sum(self._failures)


class Breaker:
    """Of one dependency. `run` makes a call; tasks of one event loop share it."""

    def __init__(
        self,
        dependency: str,
        limits: BreakerLimits,
        *,
        budget_ms: float,
        clock: Clock,
        metrics: BreakerMetrics,
    ) -> None:
        """``budget_ms``: how long its calls may take when nothing else is slow."""
        self.dependency = dependency
        self.state = State.CLOSED
        self._limits = limits
        self._fair_s = FAIR_SHARE * budget_ms / 1e3
        self._clock = clock
        self._metrics = metrics
        self._window = Window(limits.window_seconds)
        self._changes = 0  # results of calls made before the last change do not count
        self._opened_at_s = 0.0
        self._successes = self._failures_in_a_row = 0
        self._budget_s = budget_ms / 1e3
        self._probe: asyncio.Task[None] | None = None
        metrics.state.labels(dependency).set(self.state)

    async def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` answers or raises; CircuitOpen at once while the circuit is not closed."""
        if self.state is not State.CLOSED:
            self._maybe_probe(ask)
            self._metrics.refused.labels(self.dependency).inc()
            raise CircuitOpen(self.dependency)
        return await self._made(ask)

    async def _made(self, ask: Callable[[], Awaitable[T]]) -> T:
        started_s = self._clock.monotonic_s()
        changes, failed = self._changes, None
        try:
            answer = await ask()
            failed = False
            return answer
        except BaseException as error:
            failed = self._blames(error, self._clock.monotonic_s() - started_s)
            raise
        finally:
            if changes == self._changes:
                self._ended(failed)

    def _maybe_probe(self, ask: Callable[[], Awaitable[T]]) -> None:
        open_s = self._clock.monotonic_s() - self._opened_at_s
        if self.state is State.OPEN and open_s >= self._limits.open_seconds:
            self._become(State.HALF_OPEN)
        if self.state is State.HALF_OPEN and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._probed(ask), name=f"probe {self.dependency}")

    async def _probed(self, ask: Callable[[], Awaitable[T]]) -> None:
        try:
            async with asyncio.timeout(self._budget_s):
                await self._made(ask)
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it is told here
            logger.info("probe failed", extra={"dependency": self.dependency, "reason": str(error)})

    def _ended(self, failed: bool | None) -> None:
        """None: the call's end says nothing about the dependency."""
        if failed is None:
            return
        if self.state is State.HALF_OPEN:
            self._count_probe(failed)
            return
        self._window.add(self._clock.monotonic_s(), failed=failed)
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        if failed and self._is_too_much():
            self._become(State.OPEN)

    def _is_too_much(self) -> bool:
        limits = self._limits
        calls, failures = self._window.totals()
        ill = calls >= limits.calls_min and failures >= limits.failure_share * calls
        return ill or self._failures_in_a_row >= limits.failures_in_a_row

    def _count_probe(self, failed: bool) -> None:
        self._successes += 1
        if failed:
            self._become(State.OPEN)
        elif self._successes >= self._limits.probes:
            self._become(State.CLOSED)

    def _become(self, state: State) -> None:
        self.state = state
        self._changes += 1
        self._successes = self._failures_in_a_row = 0
        self._opened_at_s = self._clock.monotonic_s()
        self._window.clear()
        self._metrics.state.labels(self.dependency).set(state)
        self._metrics.transitions.labels(self.dependency, state.name.lower()).inc()
        logger.warning("circuit %s", state.name.lower(), extra={"dependency": self.dependency})

    def _blames(self, error: BaseException, waited_s: float) -> bool | None:
        """Whether the dependency failed; None where it cannot be told."""
        code = error.code() if isinstance(error, grpc.aio.AioRpcError) else None
        too_late = code is grpc.StatusCode.DEADLINE_EXCEEDED or isinstance(
            error, TimeoutError | asyncio.CancelledError
        )
        if too_late:
            return True if waited_s >= self._fair_s else None
        if not isinstance(error, Exception):
            return None
        return code in _FAILED or isinstance(error, StoreError | OSError)


class Breakers:
    """Makes the breakers of one process, which share limits, clock and metrics."""

    def __init__(self, limits: BreakerLimits, clock: Clock, metrics: Metrics) -> None:
        self._limits, self._clock = limits, clock
        self._metrics = BreakerMetrics(metrics)

    def to(self, dependency: str, budget_ms: float) -> Breaker:
        """A new breaker; ``dependency`` is its name in metrics and logs."""
        return Breaker(
            dependency,
            self._limits,
            budget_ms=budget_ms,
            clock=self._clock,
            metrics=self._metrics,
        )
