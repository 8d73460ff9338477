"""The end of a service's life, within one bound: who waits for what, and what was cut.

lame duck     NOT_SERVING is told, calls are still answered: clients move to other replicas
calls         nothing new is accepted; running calls finish
flush         ``on_drain``: side effects, offsets, files, connections

All three together take ``drain_seconds`` at most; a quarter of it is the flush's own. What did not
finish is cut, logged and counted, and the process's exit code is 1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import grpc.aio
from prometheus_client import Counter, Gauge

from service_kit.metrics import Metrics
from service_kit.running_calls import RunningCalls
from service_kit.settings import ServiceSettings

logger = logging.getLogger(__name__)
Hook = Callable[[], Awaitable[None]]
# For answers on their way out once no handler runs; then open health watches are ended.
LAST_BYTES_SECONDS = 0.25


class CutError(Exception):
    """``on_drain`` had to leave work undone; raised after it has closed what it owns."""


class Drain:
    """One process's drain; make it when the service starts."""

    def __init__(self, settings: ServiceSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = DrainMetrics(metrics)
        self._until_s = float("inf")
        self.cut_anything = False

    def begin(self) -> None:
        """The bound counts from here."""
        self._until_s = _now_s() + self._settings.drain_seconds

    async def lame_duck(self) -> None:
        """Time for clients and load balancers to look elsewhere."""
        calls_s = self._settings.drain_seconds - self._settings.flush_seconds
        with self._stage("lame_duck"):
            await asyncio.sleep(min(self._settings.lame_duck_seconds, calls_s))

    async def finish_calls(self, server: grpc.aio.Server, calls: RunningCalls) -> None:
        """Accepts no new calls, waits for running ones, cancels those left."""
        until_s = self._until_s - self._settings.flush_seconds
        with self._stage("calls"):
            grace_s = max(0.0, until_s - _now_s())
            stopping = asyncio.create_task(server.stop(grace_s + LAST_BYTES_SECONDS))
            idle_rounds = 0  # the first one's answers may still be on their way out
            while idle_rounds < 2 and not stopping.done() and (left_s := until_s - _now_s()) > 0:
                await asyncio.wait({stopping}, timeout=min(LAST_BYTES_SECONDS, left_s))
                idle_rounds = 0 if calls.count else idle_rounds + 1
            if calls.count:
                self._cut("calls", calls.count)
            await server.stop(None)
            await stopping

    async def flush(self, on_drain: Hook) -> None:
        """Runs the service's own end; an exception in it is a cut too."""
        with self._stage("flush"):
            try:
                await asyncio.wait_for(on_drain(), max(0.0, self._left_s()))
            except TimeoutError:
                self._cut("flush", 1)
            except CutError as error:
                logger.error("not all was flushed", extra={"reason": str(error)})
                self._cut("flush", 1)
            except Exception:  # the rest of the process still ends in order
                logger.exception("the service's own end failed")
                self._cut("flush", 1)

    def _left_s(self) -> float:
        return self._until_s - _now_s()

    def _cut(self, what: str, count: int) -> None:
        self.cut_anything = True
        self._metrics.cut.labels(what).inc(count)
        logger.error(
            "cut off by the drain's end",
            extra={"what": what, "count": count, "drain_seconds": self._settings.drain_seconds},
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started_s = _now_s()
        logger.info("draining", extra={"stage": name})
        try:
            yield
        finally:
            self._metrics.seconds.labels(name).set(_now_s() - started_s)


class DrainMetrics:
    """Scraped while the process drains: its side door closes last."""

    def __init__(self, metrics: Metrics) -> None:
        self.seconds: Gauge = metrics.gauge(
            "drain_seconds", "Time of each stage of the drain", ["stage"]
        )
        self.cut: Counter = metrics.counter(
            "drain_cut_total", "Calls and flushes cut by the drain's end", ["what"]
        )


def _now_s() -> float:
    return asyncio.get_running_loop().time()
