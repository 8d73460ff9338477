"""What operators see: counters and latencies per component, spans, one summary line a request."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prometheus_client import Counter, Histogram

from candidate_pipeline.errors import Degraded
from candidate_pipeline.observer import Observer
from candidate_pipeline.result import ComponentReport, PipelineResult, Stage
from home_mixer.clients.circuit_breaker import REASON_OPEN
from home_mixer.last_known import REASON_STALE
from service_kit.metrics import SIZES, Metrics
from service_kit.tracing import export_wanted, incoming_context, tracer

logger = logging.getLogger(__name__)
DISABLED = "disabled"  # an outcome
EXPECTED_IN_AN_OUTAGE = frozenset({REASON_OPEN, REASON_STALE})

_NO_SPAN: AbstractContextManager[object] = nullcontext()


class Telemetry(Observer):
    """The pipeline's observer; also counts the requests themselves."""

    def __init__(self, metrics: Metrics) -> None:
        by_component = ("stage", "component")
        self._tracer = tracer(__name__) if export_wanted() else None
        self._runs = metrics.counter(
            "component_runs_total",
            "Runs of a component: ok, degraded, failed or disabled",
            (*by_component, "outcome"),
        )
        # (stage, component, outcome) → what to count in: as many as the pipeline has components
        self._counted: dict[
            tuple[Stage, str, str], tuple[Counter, Histogram | None, Counter | None]
        ] = {}
        self._seconds = metrics.histogram(
            "component_seconds", "Time of one run of a component", by_component
        )
        self._stage_cpu = metrics.counter(
            "stage_cpu_seconds_total",
            "Processor's time of the event loop during a stage; of requests beside it too",
            ("stage",),
        )
        self._removed = metrics.counter(
            "filter_removed_total", "Candidates that a filter removed", ("filter",)
        )
        self._degraded = metrics.counter(
            "degraded_total", "Answers with this reason among degraded_reasons", ("reason",)
        )
        self._fates = metrics.counter(
            "candidates_total", "Candidates by where they ended", ("fate",)
        )
        self._feed = metrics.histogram("feed_posts", "Posts in an answer", buckets=SIZES)
        self._empty = metrics.counter("feed_empty_total", "Answers without a post")
        self._dropped = metrics.counter(
            "side_effects_dropped_total", "Side effects that did not run", ("component",)
        )
        self.requests = metrics.counter(
            "requests_total", "Requests by method and gRPC status", ("method", "code")
        )
        self.seconds = metrics.histogram("request_seconds", "Time of a request", ("method",))
        self.in_flight = metrics.gauge("requests_in_flight", "Requests being answered")
        self.params_reloads = metrics.counter(
            "params_reloads_total", "Reloads of the ranking parameters", ("outcome",)
        )

    def span(self, stage: Stage, component: str) -> AbstractContextManager[object]:
        """One span a component while an export is configured."""
        if self._tracer is None:
            return _NO_SPAN
        return self._tracer.start_as_current_span(f"{stage}/{component}")

    def request_span(
        self, method: str, metadata: Iterable[tuple[str, str | bytes]] | None
    ) -> AbstractContextManager[object]:
        """One span a request, below its caller's."""
        if self._tracer is None:
            return _NO_SPAN
        return self._tracer.start_as_current_span(method, context=incoming_context(metadata))

    def component_finished(self, request_id: str, report: ComponentReport) -> None:
        """Counters of one run."""
        key = report.stage, report.component, _outcome(report)
        counted = self._counted.get(key)
        if counted is None:
            counted = self._counted[key] = self._counters_of(*key)
        runs, seconds, removed = counted
        runs.inc()
        if seconds is not None:
            seconds.observe(report.latency_ms / 1e3)
        if removed is not None:
            removed.inc(report.input_count - report.output_count)

    def _counters_of(
        self, stage: Stage, component: str, outcome: str
    ) -> tuple[Counter, Histogram | None, Counter | None]:
        """The children of the labelled metrics: to look one up costs more than to count."""
        runs = self._runs.labels(str(stage), component, outcome)
        if outcome == DISABLED:
            return runs, None, None
        is_filter = stage in (Stage.FILTER, Stage.LATE_FILTER)
        removed = self._removed.labels(component) if is_filter else None
        return runs, self._seconds.labels(str(stage), component), removed

    def component_failed(
        self, request_id: str, report: ComponentReport, error: BaseException
    ) -> None:
        """A known reason is one line; anything else comes with its traceback.

        An open circuit has logged its opening: that each feed meets it is told by the counters
        and by the request's own line.
        """
        known = isinstance(error, Degraded | TimeoutError)
        expected = isinstance(error, Degraded) and error.reason in EXPECTED_IN_AN_OUTAGE
        logger.log(
            logging.DEBUG if expected else logging.WARNING,
            "component failed",
            extra={
                "request_id": request_id,
                "stage": str(report.stage),
                "component": report.component,
                "reason": report.reason,
                "failure": report.error,
            },
            exc_info=None if known else error,
        )

    def pipeline_finished(self, result: PipelineResult[Any]) -> None:
        """The summary line and the counters of a whole request."""
        for reason in result.degraded_reasons:
            self._degraded.labels(reason).inc()
        for stage in result.stages:
            self._stage_cpu.labels(str(stage.stage)).inc(stage.cpu_ms / 1e3)
        for fate, count in result.counts.items():
            self._fates.labels(str(fate)).inc(count)
        self._feed.observe(len(result.selected))
        self._empty.inc(len(result.selected) == 0)
        if logger.isEnabledFor(logging.INFO):
            logger.info("request served", extra=summary(result))

    def side_effect_dropped(self, request_id: str, component: str) -> None:
        """Counted and logged; the viewer's answer is not affected."""
        self._dropped.labels(component).inc()
        logger.warning(
            "side effect dropped", extra={"request_id": request_id, "component": component}
        )


def summary(result: PipelineResult[Any]) -> dict[str, object]:
    """A whole request in one line; the same fields for every request."""
    return {
        "request_id": result.request_id,
        "latency_ms": round(result.latency_ms, 2),
        "fetched": result.fetched_count,
        "counts": {str(fate): count for fate, count in result.counts.items()},
        "removed_by": dict(result.removed_by),
        "degraded_reasons": list(result.degraded_reasons),
        "stages": {str(stage.stage): round(stage.latency_ms, 2) for stage in result.stages},
        "params_hash": result.query.params.params_hash,
    }


def _outcome(report: ComponentReport) -> str:
    if not report.enabled:
        return DISABLED
    if report.error is not None:
        return "failed" if report.output_count == 0 else "degraded"
    return "ok"
