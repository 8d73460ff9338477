"""Operators see what ran, what failed and why; users' texts stay out of the logs."""

from __future__ import annotations

import logging

import pytest

from candidate_pipeline.errors import Degraded
from candidate_pipeline.result import ComponentReport, Stage
from home_mixer.serving.telemetry import Telemetry
from service_kit.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("home_mixer")


@pytest.fixture
def telemetry(metrics: Metrics) -> Telemetry:
    return Telemetry(metrics)


def report(error: str | None = None, output_count: int = 0) -> ComponentReport:
    return ComponentReport(
        Stage.SOURCE, "ThunderSource", True, 2.0, 0, output_count, error, error and "T:why"
    )


def test_a_partial_answer_is_told_from_a_failure(telemetry: Telemetry, metrics: Metrics) -> None:
    for one in (report(output_count=3), report("partial", 3), report("down")):
        telemetry.component_finished("r", one)
    labels = {"stage": "Source", "component": "ThunderSource"}
    for outcome in ("ok", "degraded", "failed"):
        assert metrics.value("component_runs_total", outcome=outcome, **labels) == 1
    assert metrics.value("component_seconds_count", **labels) == 3


def test_filters_count_what_they_remove(telemetry: Telemetry, metrics: Metrics) -> None:
    one = ComponentReport(Stage.FILTER, "AgeFilter", True, 1.0, 10, 4)
    telemetry.component_finished("r", one)
    assert metrics.value("filter_removed_total", filter="AgeFilter") == 6


def test_an_expected_failure_is_one_line_and_a_bug_has_its_traceback(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry.component_failed("r-1", report("down"), Degraded("unavailable"))
    telemetry.component_failed("r-2", report("bug"), KeyError("x"))
    known, bug = caplog.records
    assert (known.levelno, known.exc_info) == (logging.WARNING, None)
    assert bug.exc_info
    assert vars(bug)["request_id"] == "r-2"


@pytest.mark.parametrize("reason", ["circuit_open", "stale"])
def test_what_every_feed_of_an_outage_meets_does_not_flood_the_log(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    """The breaker has said that it opened; a line a component a feed would hide all else."""
    telemetry.component_failed("r", report("down"), Degraded(reason))
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


def test_dropped_side_effects_are_counted(telemetry: Telemetry, metrics: Metrics) -> None:
    telemetry.side_effect_dropped("r", "ServedHistorySideEffect")
    name = "side_effects_dropped_total"
    assert metrics.value(name, component="ServedHistorySideEffect") == 1
