"""Keeps a part of a service alive: what ends is told, waited for and built anew.

For consumers, whose log may be away when the process starts and whose parts may die while it
runs: a *life* is a function that opens what it needs, runs for ever and closes it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import Counter

from service_kit.clock import Clock
from service_kit.event_log import LogUnavailableError, TopicError
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness

logger = logging.getLogger(__name__)
BACKOFF_S_MIN = 0.1
BACKOFF_S_MAX = 10.0
STEADY_S = 60.0  # a life this long starts the back-off anew


async def supervise(
    life: Callable[[], Awaitable[None]],
    *,
    name: str,
    ready_as: str,
    readiness: Readiness,
    metrics: Metrics,
    clock: Clock,
    backoff_s: tuple[float, float] = (BACKOFF_S_MIN, BACKOFF_S_MAX),
) -> None:
    """Runs ``life`` again whenever it ends, until cancelled.

    Each end turns ``ready_as`` off with its reason; the next life turns it on. ``backoff_s``: the
    shortest and the longest wait before a new life.
    """
    deaths = metrics.once("supervision", _deaths)
    failures, last = 0, ""
    while True:
        started_s = clock.monotonic_s()
        try:
            await life()
            reason, error = "ended by itself", None
        except Exception as caught:  # noqa: BLE001 - counted, logged and visible in readiness
            reason, error = f"{type(caught).__name__}: {caught}", caught
        failures = 1 if clock.monotonic_s() - started_s > STEADY_S else failures + 1
        deaths.labels(name).inc()
        readiness.set(ready_as, False, f"{name} is started again, for it failed: {reason}")
        expected = isinstance(error, LogUnavailableError | TopicError)
        logger.error(
            "started again",
            extra={"part": name, "failures": failures, "reason": reason},
            exc_info=None if expected or reason == last else error,
        )
        last = reason
        await asyncio.sleep(min(backoff_s[1], backoff_s[0] * 2 ** min(failures - 1, 16)))


def _deaths(metrics: Metrics) -> Counter:
    return metrics.counter(
        "part_restarts_total", "Lives of a part of the service that ended unasked", ["part"]
    )
