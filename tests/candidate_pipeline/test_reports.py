"""Operators see a report and a span per component; no observer can break a feed."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from candidate_pipeline import Observer, Stage


def test_every_component_reports_its_counts(kit: Any, run: Any) -> None:
    pipeline = kit.pipeline(
        query_hydrators=[
            kit.query_hydrator("Taste", writes={"taste"}, hydrate=lambda query: {"taste": 1.0})
        ],
        filters=[
            kit.filter("Odd", reads={"id"}, keep=lambda query, table: table["id"] % 2 == 1),
            kit.filter("Off", keep=None, enable=lambda query: False),
        ],
    )
    result = run(pipeline.execute(kit.Ask()))
    counts = {
        report.component: (report.enabled, report.input_count, report.output_count)
        for stage in result.stages
        for report in stage.components
    }
    assert counts == {
        "Taste": (True, 1, 1),
        "Ids": (True, 0, 3),
        "Odd": (True, 3, 2),
        "Off": (False, 0, 0),
        "TopKSelector": (True, 2, 2),
    }
    filters = next(stage for stage in result.stages if stage.stage is Stage.FILTER)
    assert (filters.total, filters.enabled) == (2, 1)
    assert all(stage.latency_ms >= 0 for stage in result.stages)


def test_an_empty_table_skips_what_has_nothing_to_do(kit: Any, run: Any) -> None:
    def unreachable(*_: Any) -> Any:
        raise AssertionError("called without candidates")

    pipeline = kit.pipeline(
        sources=[kit.ids([])],
        hydrators=[kit.hydrator("H", writes={"fact"}, hydrate=unreachable)],
        filters=[kit.filter("F", keep=unreachable)],
        scorers=[kit.scorer("S", writes={"score"}, score=unreachable)],
        late_hydrators=[kit.hydrator("L", writes={"verdict"}, hydrate=unreachable)],
        late_filters=[kit.filter("LF", keep=unreachable)],
    )
    result = run(pipeline.execute(kit.Ask(), explain=True))
    assert len(result.selected) == 0
    assert result.degraded_reasons == ()
    assert len(result.ledger.table) == 0


def test_spans_enclose_each_component(kit: Any, run: Any) -> None:
    seen: list[str] = []

    class Tracer(Observer):
        @contextmanager
        def span(self, stage: Stage, component: str) -> Iterator[None]:
            seen.append(f"+{component}")
            yield
            seen.append(f"-{component}")

    run(kit.pipeline(observer=Tracer()).execute(kit.Ask()))
    assert seen == ["+Ids", "-Ids", "+TopKSelector", "-TopKSelector"]


def test_an_observer_that_fails_is_logged_and_the_feed_comes(
    kit: Any, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        def component_finished(self, request_id: str, report: Any) -> None:
            raise RuntimeError("no counter")

    with caplog.at_level(logging.ERROR):
        result = run(kit.pipeline(observer=Broken()).execute(kit.Ask()))
    assert len(result.selected) == 3
    assert "the observer failed in" in caplog.text


def test_a_removed_candidate_keeps_the_columns_it_had(kit: Any, run: Any) -> None:
    """An explanation must show what the filter saw."""
    pipeline = kit.pipeline(
        hydrators=[
            kit.hydrator("Fact", writes={"fact"}, hydrate=lambda query, table: {"fact": [7.0] * 3})
        ],
        filters=[kit.filter("Odd", reads={"id"}, keep=lambda query, table: table["id"] % 2 == 1)],
        scorers=[
            kit.scorer(
                "Score", writes={"score"}, score=lambda query, table: {"score": table["id"] * 1.0}
            )
        ],
    )
    ledger = run(pipeline.execute(kit.Ask(), explain=True)).ledger
    rows = dict(zip(ledger.table["id"].tolist(), ledger.table.rows(), strict=True))
    assert rows[2]["fact"] == 7.0
    assert rows[2]["score"] != rows[2]["score"]  # NaN: it was never scored
    assert rows[3]["score"] == 3.0
    assert ledger.removed_by.tolist() == ["", "", "Odd"]
    assert ledger.stage.tolist() == [Stage.SELECTOR, Stage.SELECTOR, Stage.FILTER]
    assert ledger.position.tolist() == [0, 1, -1]


def test_a_stage_says_what_it_took_of_the_processor(kit: Any, run: Any) -> None:
    """Waiting is no work: a slow store must not look like a busy event loop."""

    def work(query: Any, table: Any) -> Any:
        until_s = time.thread_time() + 0.02
        while time.thread_time() < until_s:
            pass
        return table["id"] > 0

    async def wait(query: Any) -> dict[str, float]:
        await asyncio.sleep(3_600.0)
        return {"taste": 1.0}

    taste = kit.query_hydrator("Taste", writes={"taste"}, hydrate=wait)
    taste.budget_ms = 1e8
    pipeline = kit.pipeline(
        query_hydrators=[taste],
        filters=[kit.filter("Busy", reads={"id"}, keep=work)],
        budget_ms=1e8,
    )
    cpu_ms = {stage.stage: stage.cpu_ms for stage in run(pipeline.execute(kit.Ask())).stages}
    assert cpu_ms[Stage.FILTER] >= 20
    assert 0 <= cpu_ms[Stage.QUERY_HYDRATOR] < 20
