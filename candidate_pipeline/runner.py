"""Runs one component: its budget, the check of its answer, its failure policy, its report.

Whatever happens ends in a report: an exception is counted, shown to the observer with its
traceback, and named in the degraded reasons. Only cancellation of the request itself, and
PipelineFailed, leave this module as exceptions.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, Generic, TypeVar, cast

from candidate_pipeline.components import Component, FailurePolicy
from candidate_pipeline.errors import BadOutputError, ColumnError, Degraded, PipelineFailed
from candidate_pipeline.observer import Observer
from candidate_pipeline.result import ComponentReport
from candidate_pipeline.together import resumed
from candidate_pipeline.wiring import Wired

R = TypeVar("R")

logger = logging.getLogger(__name__)


@dataclass(slots=True)  # not frozen: that would cost a microsecond for each component
class Call(Generic[R]):
    """How to ask a component, check what it says, and what to use instead.

    check: raises BadOutputError or ColumnError. skip: makes the answer as if it were not there.
    count: how many candidates (or fields) an answer stands for.
    """

    ask: Callable[[], object]
    check: Callable[[object], R]
    skip: Callable[[], R]
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
            skipped = ComponentReport(wired.stage, wired.name, False)
            self._report(skipped)
            return call.skip(), skipped
        started = self.clock()
        if isinstance(enabled, Exception):
            return self._failed(wired, call, started, call.skip(), Failure(enabled, "error"))
        try:
            with self._observer.span(wired.stage, wired.name):
                raw = self._asked(wired.component, call.ask)
                if hasattr(raw, "__await__"):
                    raw = await self._within_budget(wired.component, raw)
                answer = _checked(call, raw)
        except BaseException as error:  # noqa: BLE001 - any failure is reported and has its policy
            return self._failed(wired, call, started, *_failure(wired, call, error))
        report = ComponentReport(
            wired.stage,
            wired.name,
            True,
            (self.clock() - started) * 1e3,
            call.input_count,
            call.count(answer),
        )
        self._report(report)
        return answer, report

    def _failed(
        self, wired: Wired[Any], call: Call[R], started: float, answer: R, failure: Failure
    ) -> tuple[R, ComponentReport]:
        """What the policy makes of it; PipelineFailed where it says so."""
        failed: PipelineFailed | None = None
        second: Exception | None = None
        why = failure.why
        if not failure.is_answered:
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
            error=_error_text(failure.error, second),
            reason=f"{wired.name}:{why}",
        )
        for bad in (failure.error, second):
            if bad is not None:
                tell(self._observer.component_failed, self.request_id, report, bad)
        self._report(report)
        if failed is not None:
            raise failed
        return answer, report

    def _asked(self, component: Component[Any], ask: Callable[[], object]) -> object:
        """The raw answer, or what to wait for."""
        if not component.blocking:
            return ask()
        run = contextvars.copy_context().run
        return self._loop.run_in_executor(self._executor, run, ask)

    async def _within_budget(self, component: Component[Any], waiting: object) -> object:
        """The raw answer; TimeoutError when it waits past its budget or the request's deadline."""
        until = min(self._loop.time() + component.budget_ms / 1e3, self.deadline_s)
        if isinstance(waiting, CoroutineType):
            try:
                waits_for = waiting.send(None)
            except StopIteration as done:
                return done.value  # it had not to wait, and needs no timer
            waiting = resumed(waiting, waits_for)
        async with asyncio.timeout_at(until):
            return await cast(Awaitable[object], waiting)

    def _report(self, report: ComponentReport) -> None:
        tell(self._observer.component_finished, self.request_id, report)


def _failure(wired: Wired[Any], call: Call[R], error: BaseException) -> tuple[R, Failure]:
    """`call.skip` (of a partial answer: what there is) and what went wrong; the request's own end
    is raised again."""
    if isinstance(error, Degraded):
        return _partial(call, error)
    if isinstance(error, BadOutputError):
        return call.skip(), Failure(error, "bad_output")
    if isinstance(error, TimeoutError):
        return call.skip(), Failure(_with_budget(error, wired.component), "timeout")
    if isinstance(error, asyncio.CancelledError) and not _is_cancelled():
        return call.skip(), Failure(error, "cancelled")
    if isinstance(error, Exception):
        return call.skip(), Failure(error, "error")
    raise error


def is_enabled(wired: Wired[Any], query: Any) -> bool | Exception:
    """What `enable` says; its exception, when it fails, is the component's failure."""
    if not wired.has_gate:
        return True
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


def _checked(call: Call[R], raw: object) -> R:
    try:
        return call.check(raw)
    except ColumnError as error:
        raise BadOutputError(str(error)) from error


def _partial(call: Call[R], degraded: Degraded) -> tuple[R, Failure]:
    if degraded.output is None:
        return call.skip(), Failure(degraded, degraded.reason)
    try:
        return _checked(call, degraded.output), Failure(degraded, degraded.reason, True)
    except BadOutputError as error:
        return call.skip(), Failure(error, "bad_output")


def _substitute(wired: Wired[Any], call: Call[R], failure: Failure) -> tuple[R, Exception | None]:
    """What the policy puts in place of the answer, and the error of a fallback that failed too.

    A substitute may raise Degraded with its answer, to say what kind of answer it is ("stale").
    """
    policy = wired.component.on_failure
    if policy is FailurePolicy.FAIL_REQUEST:
        raise PipelineFailed(wired.name, failure.why) from failure.error
    if policy is FailurePolicy.SKIP:
        return call.skip(), None
    other = call.fallback if policy is FailurePolicy.FALLBACK else call.fail_closed
    assert other is not None  # wiring has seen to it
    try:
        return _checked_or_degraded(call, other)
    except Exception as error:
        if policy is FailurePolicy.FAIL_CLOSED:  # there is no safe answer left
            raise PipelineFailed(wired.name, f"{failure.why}, then fail_closed failed") from error
        return call.skip(), error


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
