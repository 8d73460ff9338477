"""How a service watches its pipeline: counters, spans and the one summary line of a request.

Subclass `Observer` and override what you need. An observer must not raise; if it does, the error
is logged and the request goes on.
"""

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from candidate_pipeline.result import ComponentReport, Fate, PipelineResult, Stage, StageReport

_NO_SPAN: AbstractContextManager[object] = nullcontext()


class Observer:
    """Hears of everything; by default does nothing."""

    def span(self, stage: Stage, component: str) -> AbstractContextManager[object]:
        """Entered around every component's run, in the task or thread-free code that runs it."""
        return _NO_SPAN

    def component_finished(self, request_id: str, report: ComponentReport) -> None:
        """A component ran (or, disabled, did not), well or not."""

    def component_failed(
        self, request_id: str, report: ComponentReport, error: BaseException
    ) -> None:
        """A component failed; comes before `component_finished` of the same report."""

    def pipeline_finished(self, result: PipelineResult[Any]) -> None:
        """A request has its answer; side effects have not run yet."""

    def side_effect_dropped(self, request_id: str, component: str) -> None:
        """A side effect did not run: too many were waiting, or the drain's time was up."""


class LoggingObserver(Observer):
    """Logs failures with their traceback and one summary line a request."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("candidate_pipeline")

    def component_failed(
        self, request_id: str, report: ComponentReport, error: BaseException
    ) -> None:
        self._logger.error(
            "request_id=%s stage=%s component=%s failed: %s",
            request_id,
            report.stage,
            report.component,
            report.error,
            exc_info=error,
        )

    def pipeline_finished(self, result: PipelineResult[Any]) -> None:
        if self._logger.isEnabledFor(logging.INFO):
            self._logger.info("%s", summary_line(result))

    def side_effect_dropped(self, request_id: str, component: str) -> None:
        self._logger.warning(
            "request_id=%s stage=SideEffect component=%s dropped", request_id, component
        )


def summary_line(result: PipelineResult[Any]) -> str:
    """The whole request in one line; the same fields for every request."""
    words = [
        f"{result.pipeline} Summary:",
        f"request_id={result.request_id}",
        f"latency_ms={result.latency_ms:.2f}",
        f"fetched={result.fetched_count}",
        *(f"{fate}={result.counts[fate]}" for fate in Fate),
        f"degraded=[{','.join(result.degraded_reasons)}]",
        *map(_stage_words, result.stages),
    ]
    return " ".join(words)


def _stage_words(stage: StageReport) -> str:
    words = f"total={stage.total} enabled={stage.enabled} latency_ms={stage.latency_ms:.2f}"
    ran = [report for report in stage.components if report.enabled]
    if stage.stage is Stage.SOURCE:
        words += f" fetched=[{','.join(f'{r.component}={r.output_count}' for r in ran)}]"
    elif stage.stage in (Stage.FILTER, Stage.LATE_FILTER) and ran:
        removed = [f"{r.component}={r.input_count - r.output_count}" for r in ran]
        total = ran[0].input_count - ran[-1].output_count
        words += f" kept={ran[-1].output_count} removed={total}"
        words += f" removed_per_filter=[{','.join(removed)}]"
    elif stage.stage is Stage.SELECTOR and ran:
        words += f" size={ran[0].output_count}"
    return f"{stage.stage}{{{words}}}"
