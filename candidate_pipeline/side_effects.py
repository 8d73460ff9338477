"""Side effects: after the response, a bounded number at a time, drained at shutdown."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from candidate_pipeline.calls import SideEffectCall
from candidate_pipeline.components import SideEffect
from candidate_pipeline.errors import WiringError
from candidate_pipeline.observer import Observer
from candidate_pipeline.result import ComponentReport, PipelineResult
from candidate_pipeline.runner import Runner, is_enabled, tell
from candidate_pipeline.wiring import Wired

CONCURRENCY_MAX = 64  # side effects at once: they wait for stores, which answer in milliseconds
QUEUE_MAX = 256  # waiting ones; each may hold its request's columns, a few megabytes

Work = Callable[[], Coroutine[Any, Any, object]]


class SideEffectRunner:
    """Owns the tasks of side effects. What does not fit into the queue is dropped and reported."""

    def __init__(
        self,
        observer: Observer,
        clock: Callable[[], float],
        concurrency_max: int = CONCURRENCY_MAX,
        queue_max: int = QUEUE_MAX,
    ) -> None:
        if concurrency_max < 1 or queue_max < 0:
            raise WiringError(
                f"side effects want a concurrency of at least 1 and a queue of at least 0, got"
                f" {concurrency_max} and {queue_max}"
            )
        self._observer = observer
        self._clock = clock
        self._concurrency_max = concurrency_max
        self._queue_max = queue_max
        self._waiting: deque[tuple[str, str, Work]] = deque()
        self._running: set[asyncio.Task[object]] = set()
        self.dropped_count = 0

    @property
    def pending_count(self) -> int:
        """Waiting and running ones."""
        return len(self._waiting) + len(self._running)

    def submit(
        self, effects: Sequence[Wired[SideEffect[Any]]], result: PipelineResult[Any]
    ) -> None:
        """Start or queue them; returns at once."""
        for wired in effects:
            self._submit_one(result.request_id, wired, result)

    async def drain(self, timeout_s: float) -> bool:
        """Wait for all; True when none was cut off. What is left then is cancelled and dropped."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while self._running and (left := until - loop.time()) > 0:
            await asyncio.wait(self._running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        cut = list(self._running)
        while self._waiting:
            request_id, name, _ = self._waiting.popleft()
            self._drop(request_id, name)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        return not cut

    def _submit_one(
        self, request_id: str, wired: Wired[SideEffect[Any]], result: PipelineResult[Any]
    ) -> None:
        def work() -> Coroutine[Any, Any, object]:
            return self._run(wired, result)

        if len(self._running) < self._concurrency_max:
            self._start(request_id, wired.name, work)
        elif len(self._waiting) < self._queue_max:
            self._waiting.append((request_id, wired.name, work))
        else:
            self._drop(request_id, wired.name)

    def _start(self, request_id: str, name: str, work: Work) -> None:
        task = asyncio.ensure_future(work())
        self._running.add(task)

        def finished(task: asyncio.Task[object]) -> None:
            self._running.discard(task)
            if task.cancelled():
                self._drop(request_id, name)
            if self._waiting and len(self._running) < self._concurrency_max:
                self._start(*self._waiting.popleft())

        task.add_done_callback(finished)

    async def _run(
        self, wired: Wired[SideEffect[Any]], result: PipelineResult[Any]
    ) -> ComponentReport:
        query = result.query
        runner = Runner(
            request_id=result.request_id,
            deadline_s=float("inf"),
            observer=self._observer,
            clock=self._clock,
            executor=None,
        )
        call = SideEffectCall(wired, result)
        _, report = await runner.run(call, query, result.selected, is_enabled(wired, query))
        return report

    def _drop(self, request_id: str, name: str) -> None:
        self.dropped_count += 1
        tell(self._observer.side_effect_dropped, request_id, name)
