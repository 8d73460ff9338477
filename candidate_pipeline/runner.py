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
from typing import Any, Generic, NamedTuple, TypeVar, cast

from candidate_pipeline.calls import Call
from candidate_pipeline.components import Component, FailurePolicy
from candidate_pipeline.errors import BadOutputError, ColumnError, Degraded, PipelineFailed
from candidate_pipeline.observer import Observer
from candidate_pipeline.result import ComponentReport
from candidate_pipeline.table import CandidateTable
from candidate_pipeline.together import resumed
from candidate_pipeline.wiring import Wired

R = TypeVar("R")

logger = logging.getLogger(__name__)
OBSERVER_FAILED = "the observer failed in %s"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, and the word for it. is_answered: a usable answer came all the same."""

    error: BaseException
    why: str
    is_answered: bool = False


class Asked(NamedTuple, Generic[R]):
    """One call of one request: the component, and what it was asked about."""

    call: Call[R]
    query: Any
    table: CandidateTable

    def checked(self, raw: object) -> R:
        """The answer; BadOutputError where it does not fit."""
        try:
            return self.call.check(raw, self.query, self.table)
        except ColumnError as error:
            raise BadOutputError(str(error)) from error


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
        self, call: Call[R], query: Any, table: CandidateTable, enabled: bool | Exception
    ) -> tuple[R, ComponentReport]:
        """The component's answer, or what its policy puts in its place, and the report."""
        wired = call.wired
        if enabled is False:
            skipped = ComponentReport(wired.stage, wired.name, False)
            self._report(skipped)
            return call.skip(table), skipped
        started = self.clock()
        asked = Asked(call, query, table)
        if isinstance(enabled, Exception):
            return self._failed(asked, started, call.skip(table), Failure(enabled, "error"))
        try:
            with self._observer.span(wired.stage, wired.name):
                raw = self._on_thread(asked) if wired.blocking else call.ask(query, table)
                if hasattr(raw, "__await__"):
                    raw = await self._within_budget(wired.component, raw)
                answer = asked.checked(raw)
        except BaseException as error:  # noqa: BLE001 - any failure is reported and has its policy
            return self._failed(asked, started, *_failure(asked, error))
        report = ComponentReport(
            wired.stage,
            wired.name,
            True,
            (self.clock() - started) * 1e3,
            call.input_count(table),
            call.count(answer, table),
        )
        self._report(report)
        return answer, report

    def _failed(
        self, asked: Asked[R], started: float, answer: R, failure: Failure
    ) -> tuple[R, ComponentReport]:
        """What the policy makes of it; PipelineFailed where it says so."""
        call, wired = asked.call, asked.call.wired
        failed: PipelineFailed | None = None
        second: Exception | None = None
        why = failure.why
        if not failure.is_answered:
            try:
                answer, second = _substitute(asked, failure)
                why = second.reason if isinstance(second, Degraded) else why
            except PipelineFailed as error:
                failed = error
        report = ComponentReport(
            stage=wired.stage,
            component=wired.name,
            enabled=True,
            latency_ms=(self.clock() - started) * 1e3,
            input_count=call.input_count(asked.table),
            output_count=0 if failed else call.count(answer, asked.table),
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

    def _on_thread(self, asked: Asked[Any]) -> object:
        """What to wait for of a `blocking` component."""
        run = contextvars.copy_context().run
        ask = asked.call.ask
        return self._loop.run_in_executor(self._executor, run, ask, asked.query, asked.table)

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
        try:
            self._observer.component_finished(self.request_id, report)
        except Exception:
            logger.exception(OBSERVER_FAILED, _name(self._observer.component_finished))


def _failure(asked: Asked[R], error: BaseException) -> tuple[R, Failure]:
    """`skip` (of a partial answer: what there is) and what went wrong; the request's own end is
    raised again."""
    if isinstance(error, Degraded):
        return _partial(asked, error)
    skipped = asked.call.skip(asked.table)
    if isinstance(error, BadOutputError):
        return skipped, Failure(error, "bad_output")
    if isinstance(error, TimeoutError):
        return skipped, Failure(_with_budget(error, asked.call.wired.component), "timeout")
    if isinstance(error, asyncio.CancelledError) and not _is_cancelled():
        return skipped, Failure(error, "cancelled")
    if isinstance(error, Exception):
        return skipped, Failure(error, "error")
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
        logger.exception(OBSERVER_FAILED, _name(hear))


def _name(hear: Callable[..., None]) -> object:
    return getattr(hear, "__qualname__", hear)


def _partial(asked: Asked[R], degraded: Degraded) -> tuple[R, Failure]:
    skipped = asked.call.skip(asked.table)
    if degraded.output is None:
        return skipped, Failure(degraded, degraded.reason)
    try:
        return asked.checked(degraded.output), Failure(degraded, degraded.reason, True)
    except BadOutputError as error:
        return skipped, Failure(error, "bad_output")


def _substitute(asked: Asked[R], failure: Failure) -> tuple[R, Exception | None]:
    """What the policy puts in place of the answer, and the error of a fallback that failed too.

    A substitute may raise Degraded with its answer, to say what kind of answer it is ("stale").
    """
    call, wired = asked.call, asked.call.wired
    policy = wired.component.on_failure
    if policy is FailurePolicy.FAIL_REQUEST:
        raise PipelineFailed(wired.name, failure.why) from failure.error
    if policy is FailurePolicy.SKIP:
        return call.skip(asked.table), None
    other = call.fallback if policy is FailurePolicy.FALLBACK else call.fail_closed
    try:
        return _checked_or_degraded(asked, other)
    except Exception as error:
        if policy is FailurePolicy.FAIL_CLOSED:  # there is no safe answer left
            raise PipelineFailed(wired.name, f"{failure.why}, then fail_closed failed") from error
        return call.skip(asked.table), error


def _checked_or_degraded(
    asked: Asked[R], other: Callable[[Any, CandidateTable], object]
) -> tuple[R, Degraded | None]:
    try:
        return asked.checked(other(asked.query, asked.table)), None
    except Degraded as degraded:
        if degraded.output is None:
            raise
        return asked.checked(degraded.output), degraded


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
