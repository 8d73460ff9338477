"""Runs one component: its budget, the check of its answer, its failure policy, its report.

Whatever happens ends in a report: an exception is counted, shown to the observer with its
traceback, and named in the degraded reasons. Only cancellation of the request itself, and
PipelineFailed, leave this module as exceptions.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from candidate_pipeline.components import Component, FailurePolicy
from candidate_pipeline.errors import BadOutputError, ColumnError, Degraded, PipelineFailed
from candidate_pipeline.observer import Observer
from candidate_pipeline.result import ComponentReport
from candidate_pipeline.wiring import Wired

R = TypeVar("R")

logger = logging.getLogger(__name__)


@dataclass(slots=True)  # not frozen: that would cost a microsecond for each component
class Call(Generic[R]):
    """How to ask a component, check what it says, and what to use instead.

    check: raises BadOutputError or ColumnError. skip: the answer as if it were not there.
    count: how many candidates (or fields) an answer stands for.
    """

    ask: Callable[[], object]
    check: Callable[[object], R]
    skip: R
    count: Callable[[R], int]
    input_count: int = 0
    fallback: Callable[[], object] | None = None
    fail_closed: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, and the word for it. is_answered: a usable answer came all the same."""

    error: BaseException
    why: str
    is_answered: bool = False


class Runner:
    """Runs the components of one request.

    deadline_s: absolute, on the event loop's clock. clock: seconds, for latencies.
    """

    def __init__(
        self,
        *,
        request_id: str,
        deadline_s: float,
        observer: Observer,
        clock: Callable[[], float],
        executor: Executor | None,
    ) -> None:
        self.request_id = request_id
        self.deadline_s = deadline_s
        self.clock = clock
        self._observer = observer
        self._executor = executor
        self._loop = asyncio.get_running_loop()

    @property
    def is_late(self) -> bool:
        """Whether the request's time is up."""
        return self._loop.time() >= self.deadline_s

    async def run(
        self, wired: Wired[Any], enabled: bool | Exception, call: Call[R]
    ) -> tuple[R, ComponentReport]:
        """The component's answer, or what its policy puts in its place, and the report."""
        if enabled is False:
            return call.skip, self._report(wired, ComponentReport(wired.stage, wired.name, False))
        started = self.clock()
        failure: Failure | None
        if isinstance(enabled, Exception):
            answer, failure = call.skip, Failure(enabled, "error")
        else:
            answer, failure = await self._asked(wired, call)
        failed: PipelineFailed | None = None
        second: Exception | None = None
        why = "" if failure is None else failure.why
        if failure is not None and not failure.is_answered:
            try:
                answer, second = _substitute(wired, call, failure)
                why = second.reason if isinstance(second, Degraded) else why
            except PipelineFailed as error:
                failed = error
        report = ComponentReport(
            stage=wired.stage,
            component=wired.name,
            enabled=True,
            latency_ms=(self.clock() - started) * 1e3,
            input_count=call.input_count,
            output_count=0 if failed else call.count(answer),
            error=None if failure is None else _error_text(failure.error, second),
            reason=f"{wired.name}:{why}" if failure else None,
        )
        for bad in (failure.error if failure else None, second):
            if bad is not None:
                tell(self._observer.component_failed, self.request_id, report, bad)
        self._report(wired, report)
        if failed is not None:
            raise failed
        return answer, report

    async def _asked(self, wired: Wired[Any], call: Call[R]) -> tuple[R, Failure | None]:
        """The checked answer, or `call.skip` and what went wrong."""
        try:
            with self._observer.span(wired.stage, wired.name):
                return _checked(call, await self._within_budget(wired.component, call.ask)), None
        except Degraded as degraded:
            return _partial(call, degraded)
        except BadOutputError as error:
            return call.skip, Failure(error, "bad_output")
        except TimeoutError as error:
            return call.skip, Failure(_with_budget(error, wired.component), "timeout")
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            return call.skip, Failure(error, "cancelled")
        except Exception as error:  # noqa: BLE001 - any failure is reported and has its policy
            return call.skip, Failure(error, "error")

    async def _within_budget(self, component: Component[Any], ask: Callable[[], object]) -> object:
        """The raw answer; TimeoutError when it waits past its budget or the request's deadline."""
        if component.blocking:
            run = contextvars.copy_context().run
            waiting: object = self._loop.run_in_executor(self._executor, run, ask)
        else:
            waiting = ask()
        if not hasattr(waiting, "__await__"):
            return waiting
        until = min(self._loop.time() + component.budget_ms / 1e3, self.deadline_s)
        async with asyncio.timeout_at(until):
            return await cast(Awaitable[object], waiting)

    def _report(self, wired: Wired[Any], report: ComponentReport) -> ComponentReport:
        tell(self._observer.component_finished, self.request_id, report)
        return report


def is_enabled(wired: Wired[Any], query: Any) -> bool | Exception:
    """What `enable` says; its exception, when it fails, is the component's failure."""
    try:
        return bool(wired.component.enable(query))
    except Exception as error:  # noqa: BLE001 - handed to `run`, which reports it
        return error


def tell(hear: Callable[..., None], *what: object) -> None:
    """Calls a method of the observer; its failure must not become the request's."""
    try:
        hear(*what)
    except Exception:
        logger.exception("the observer failed in %s", getattr(hear, "__qualname__", hear))


async def run_wave(
    runs: Sequence[Callable[[], Coroutine[Any, Any, R]]], may_wait: Sequence[bool]
) -> list[R]:
    """All results, in order. Those that may wait run at the same time, the others before them."""
    found: dict[int, R] = {}
    waiting = [i for i, waits in enumerate(may_wait) if waits]
    for i, run in enumerate(runs):
        if not may_wait[i]:
            found[i] = await run()
    together = await _run_together([runs[i] for i in waiting])
    found.update(zip(waiting, together, strict=True))
    return [found[i] for i in range(len(runs))]


async def _run_together(runs: Sequence[Callable[[], Coroutine[Any, Any, R]]]) -> list[R]:
    """A single one costs no task. When one raises, the others are stopped and waited for."""
    if len(runs) <= 1:
        return [await run() for run in runs]
    tasks = [asyncio.ensure_future(run()) for run in runs]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _checked(call: Call[R], raw: object) -> R:
    try:
        return call.check(raw)
    except ColumnError as error:
        raise BadOutputError(str(error)) from error


def _partial(call: Call[R], degraded: Degraded) -> tuple[R, Failure]:
    if degraded.output is None:
        return call.skip, Failure(degraded, degraded.reason)
    try:
        return _checked(call, degraded.output), Failure(degraded, degraded.reason, True)
    except BadOutputError as error:
        return call.skip, Failure(error, "bad_output")


def _substitute(wired: Wired[Any], call: Call[R], failure: Failure) -> tuple[R, Exception | None]:
    """What the policy puts in place of the answer, and the error of a fallback that failed too.

    A substitute may raise Degraded with its answer, to say what kind of answer it is ("stale").
    """
    policy = wired.component.on_failure
    if policy is FailurePolicy.FAIL_REQUEST:
        raise PipelineFailed(wired.name, failure.why) from failure.error
    if policy is FailurePolicy.SKIP:
        return call.skip, None
    other = call.fallback if policy is FailurePolicy.FALLBACK else call.fail_closed
    assert other is not None  # wiring has seen to it
    try:
        return _checked_or_degraded(call, other)
    except Exception as error:
        if policy is FailurePolicy.FAIL_CLOSED:  # there is no safe answer left
            raise PipelineFailed(wired.name, f"{failure.why}, then fail_closed failed") from error
        return call.skip, error


def _checked_or_degraded(call: Call[R], other: Callable[[], object]) -> tuple[R, Degraded | None]:
    try:
        return _checked(call, other()), None
    except Degraded as degraded:
        if degraded.output is None:
            raise
        return _checked(call, degraded.output), degraded


def _is_cancelled() -> bool:
    """Whether somebody asked for this task's end (a component's own inner call may end alone)."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _with_budget(error: TimeoutError, component: Component[Any]) -> TimeoutError:
    if not error.args:
        error.args = (f"no answer within {component.budget_ms:g} ms or the request's deadline",)
    return error


def _error_text(error: BaseException, second: Exception | None) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if second is None else f"{text}; then {type(second).__name__}: {second}"
