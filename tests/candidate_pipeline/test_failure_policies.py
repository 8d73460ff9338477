"""Whatever a component does wrong, the feed says so and the declared policy holds."""

import asyncio
import logging
import re
from typing import Any

import numpy as np
import pytest

from candidate_pipeline import Degraded, FailurePolicy, LoggingObserver, PipelineFailed

HOUR_MS = 3_600_000.0


def _raises(*_: Any) -> Any:
    raise RuntimeError("the store is down")


async def _raises_later(*_: Any) -> Any:
    await asyncio.sleep(0)
    raise RuntimeError("the store is down")


async def _hangs(*_: Any) -> Any:
    await asyncio.Event().wait()


async def _own_timeout(*_: Any) -> Any:
    raise TimeoutError("the client gave up")


async def _inner_call_cancelled(*_: Any) -> Any:
    raise asyncio.CancelledError


def _unavailable(*_: Any) -> Any:
    raise Degraded("unavailable")


def _nonsense(*_: Any) -> Any:
    return "nonsense"


FAULTS = [
    (_raises, "error"),
    (_raises_later, "error"),
    (_hangs, "timeout"),
    (_own_timeout, "timeout"),
    (_inner_call_cancelled, "cancelled"),
    (_unavailable, "unavailable"),
    (_nonsense, "bad_output"),
]
faults = pytest.mark.parametrize(("fault", "why"), FAULTS)


def _ids(result: Any) -> list[int]:
    found: list[int] = result.selected["id"].tolist()
    return found


@faults
def test_skip_goes_on_without_the_hydrator(kit: Any, run: Any, fault: Any, why: str) -> None:
    broken = kit.hydrator("Broken", writes={"fact"}, hydrate=fault, budget_ms=HOUR_MS)
    pipeline = kit.pipeline(hydrators=[broken], budget_ms=2 * HOUR_MS)
    result = run(pipeline.execute(kit.Ask()))
    assert result.degraded_reasons == (f"Broken:{why}",)
    assert _ids(result) == [3, 2, 1]
    assert np.isnan(result.selected["fact"]).all()
    report = pipeline.observer.report("Broken")
    assert report.error
    assert report.reason == f"Broken:{why}"
    assert len(pipeline.observer.errors) == 1


@faults
def test_fallback_answers_instead_of_the_scorer(kit: Any, run: Any, fault: Any, why: str) -> None:
    broken = kit.scorer(
        "Broken",
        writes={"score"},
        score=fault,
        fallback=lambda query, table: {"score": -table["id"].astype(float)},
        on_failure=FailurePolicy.FALLBACK,
    )
    result = run(kit.pipeline(scorers=[broken]).execute(kit.Ask()))
    assert result.degraded_reasons == (f"Broken:{why}",)
    assert result.selected["score"].tolist() == [-3.0, -2.0, -1.0]


@faults
def test_a_hydrator_that_feeds_a_safety_filter_fails_closed(
    kit: Any, run: Any, fault: Any, why: str
) -> None:
    """Unchecked posts must not be served when the labels cannot be read."""
    labels = kit.hydrator(
        "Labels",
        writes={"verdict"},
        hydrate=fault,
        fail_closed=lambda query, table: {"verdict": np.full(len(table), 2, np.int8)},
        on_failure=FailurePolicy.FAIL_CLOSED,
    )
    safe = kit.filter("Safe", reads={"verdict"}, keep=lambda query, table: table["verdict"] != 2)
    pipeline = kit.pipeline(late_hydrators=[labels], late_filters=[safe])
    result = run(pipeline.execute(kit.Ask()))
    assert result.degraded_reasons == (f"Labels:{why}",)
    assert _ids(result) == []
    assert result.removed_by == {"Safe": 3}


@faults
def test_fail_request_raises_with_the_cause(kit: Any, run: Any, fault: Any, why: str) -> None:
    broken = kit.source("Vital", writes={"id"}, fetch=fault, on_failure=FailurePolicy.FAIL_REQUEST)
    pipeline = kit.pipeline(sources=[kit.ids([1]), broken])
    with pytest.raises(PipelineFailed, match=rf"Vital failed \({why}\)") as caught:
        run(pipeline.execute(kit.Ask()))
    assert caught.value.__cause__ is not None
    assert pipeline.observer.report("Vital").reason == f"Vital:{why}"


@faults
def test_a_source_that_fails_brings_nothing_and_the_others_go_on(
    kit: Any, run: Any, fault: Any, why: str
) -> None:
    for policy in (FailurePolicy.SKIP, FailurePolicy.FAIL_CLOSED):
        broken = kit.source("Broken", writes={"id"}, fetch=fault, on_failure=policy)
        result = run(kit.pipeline(sources=[broken, kit.ids([1, 2])]).execute(kit.Ask()))
        assert _ids(result) == [2, 1]
        assert result.degraded_reasons == (f"Broken:{why}",)
        assert result.selected["sources"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (FailurePolicy.SKIP, [3, 2, 1]),
        (FailurePolicy.FAIL_CLOSED, []),
        (FailurePolicy.FALLBACK, [2]),
    ],
)
def test_a_filter_that_fails_keeps_all_or_none_or_asks_its_fallback(
    kit: Any, run: Any, policy: FailurePolicy, left: list[int]
) -> None:
    for fault, why in [(_raises, "error"), (_nonsense, "bad_output")]:
        broken = kit.filter(
            "Broken",
            keep=fault,
            fallback=lambda query, table: table["id"] == 2,
            on_failure=policy,
        )
        result = run(kit.pipeline(filters=[broken]).execute(kit.Ask()))
        assert _ids(result) == left
        assert result.degraded_reasons == (f"Broken:{why}",)


@faults
def test_a_query_hydrator_that_fails_leaves_the_field_or_closes_it(
    kit: Any, run: Any, fault: Any, why: str
) -> None:
    skipped = kit.query_hydrator("Taste", writes={"taste"}, hydrate=fault)
    result = run(kit.pipeline(query_hydrators=[skipped]).execute(kit.Ask()))
    assert result.query == kit.Ask()
    assert result.degraded_reasons == (f"Taste:{why}",)
    closed = kit.query_hydrator(
        "Taste",
        writes={"taste"},
        hydrate=fault,
        fail_closed=lambda query: {"taste": -1.0},
        on_failure=FailurePolicy.FAIL_CLOSED,
    )
    assert run(kit.pipeline(query_hydrators=[closed]).execute(kit.Ask())).query.taste == -1.0


def test_an_enable_that_fails_is_the_components_failure(kit: Any, run: Any) -> None:
    broken = kit.filter("Broken", keep=None, enable=_raises, on_failure=FailurePolicy.FAIL_CLOSED)
    result = run(kit.pipeline(filters=[broken]).execute(kit.Ask()))
    assert _ids(result) == []
    assert result.degraded_reasons == ("Broken:error",)


def test_a_partial_answer_is_used_and_its_reason_told(kit: Any, run: Any) -> None:
    def partial(query: Any) -> Any:
        raise Degraded("partial", {"id": [9]})

    source = kit.source("Half", writes={"id"}, fetch=partial, on_failure=FailurePolicy.FAIL_REQUEST)
    result = run(kit.pipeline(sources=[source]).execute(kit.Ask()))
    assert _ids(result) == [9]
    assert result.degraded_reasons == ("Half:partial",)


def test_several_reasons_of_one_component_are_told_one_by_one(kit: Any, run: Any) -> None:
    def partial(query: Any) -> Any:
        raise Degraded("half_gone,half_late", {"id": [9]})

    source = kit.source("Half", writes={"id"}, fetch=partial, on_failure=FailurePolicy.FAIL_REQUEST)
    result = run(kit.pipeline(sources=[source]).execute(kit.Ask()))
    assert _ids(result) == [9]
    assert result.degraded_reasons == ("Half:half_gone", "Half:half_late")


def test_a_partial_answer_is_checked_like_any_other(kit: Any, run: Any) -> None:
    def partial(query: Any) -> Any:
        raise Degraded("partial", {"author": [9]})

    result = run(
        kit.pipeline(sources=[kit.source("Half", writes={"id"}, fetch=partial)]).execute(kit.Ask())
    )
    assert result.degraded_reasons == ("Half:bad_output",)


def test_a_fallback_that_fails_too_is_told_with_both_errors(kit: Any, run: Any) -> None:
    broken = kit.scorer(
        "Broken",
        writes={"score"},
        score=_raises,
        fallback=_nonsense,
        on_failure=FailurePolicy.FALLBACK,
    )
    pipeline = kit.pipeline(scorers=[broken])
    result = run(pipeline.execute(kit.Ask()))
    assert _ids(result) == [3, 2, 1]
    assert "store is down; then BadOutputError" in pipeline.observer.report("Broken").error
    assert len(pipeline.observer.errors) == 2


@pytest.mark.parametrize("fault", [_raises, _unavailable])
def test_a_safe_answer_may_say_what_kind_it_is(kit: Any, run: Any, fault: Any) -> None:
    """An operator must see that a feed was made of what was known before."""

    def stale(query: Any, table: Any) -> Any:
        raise Degraded("stale", {"verdict": np.full(len(table), 2, np.int8)})

    labels = kit.hydrator(
        "Labels",
        writes={"verdict"},
        hydrate=fault,
        fail_closed=stale,
        on_failure=FailurePolicy.FAIL_CLOSED,
    )
    pipeline = kit.pipeline(late_hydrators=[labels])
    result = run(pipeline.execute(kit.Ask()))
    assert result.degraded_reasons == ("Labels:stale",)
    assert result.selected["verdict"].tolist() == [2, 2, 2]
    assert "then Degraded: stale" in pipeline.observer.report("Labels").error


def test_without_a_safe_answer_the_request_fails_rather_than_opens(kit: Any, run: Any) -> None:
    broken = kit.hydrator(
        "Labels",
        writes={"verdict"},
        hydrate=_raises,
        fail_closed=_raises,
        on_failure=FailurePolicy.FAIL_CLOSED,
    )
    with pytest.raises(PipelineFailed, match=r"Labels failed .*fail_closed failed"):
        run(kit.pipeline(late_hydrators=[broken]).execute(kit.Ask()))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"fact": np.zeros(2)}, "2 values of 'fact' for 3 candidates"),
        ({"fact": np.array(["a", "b", "c"])}, "wants float64, got <U1"),
        ({}, r"did not return columns \['fact'\]"),
        ({"fact": np.zeros(3), "id": np.zeros(3, int)}, r"columns \['id'\] that it does not decl"),
        (None, "returned NoneType"),
    ],
)
def test_output_that_was_not_declared_is_refused_whole(
    kit: Any, run: Any, answer: Any, message: str
) -> None:
    """A hydrator that drops a row would shift every later text by one post."""
    broken = kit.hydrator("Broken", writes={"fact"}, hydrate=lambda *_: answer)
    pipeline = kit.pipeline(hydrators=[broken])
    result = run(pipeline.execute(kit.Ask()))
    assert result.degraded_reasons == ("Broken:bad_output",)
    assert re.search(message, pipeline.observer.report("Broken").error)


def test_optional_columns_may_be_absent(kit: Any, run: Any) -> None:
    part = kit.hydrator(
        "Part",
        writes={"fact"},
        optional_writes={"deeper"},
        hydrate=lambda query, table: {"fact": np.zeros(len(table))},
    )
    assert run(kit.pipeline(hydrators=[part]).execute(kit.Ask())).degraded_reasons == ()


@pytest.mark.parametrize(
    "mask", [np.ones(2, bool), np.ones(3), [True] * 3, np.ones((3, 1), bool), None]
)
def test_only_a_boolean_mask_of_the_right_length_removes(kit: Any, run: Any, mask: Any) -> None:
    result = run(kit.pipeline(filters=[kit.filter("F", keep=lambda *_: mask)]).execute(kit.Ask()))
    assert _ids(result) == [3, 2, 1]
    assert result.degraded_reasons == ("F:bad_output",)


def test_a_query_that_refuses_a_field_is_the_hydrators_failure(kit: Any, run: Any) -> None:
    wrong = kit.query_hydrator("Wrong", writes={"nothing"}, hydrate=lambda q: {"nothing": 1})
    pipeline = kit.pipeline(query_hydrators=[wrong], query_type=None)
    assert run(pipeline.execute(kit.Ask())).degraded_reasons == ("Wrong:bad_output",)


def test_reasons_come_in_stage_order_and_once(kit: Any, run: Any) -> None:
    parts = [kit.filter(name, keep=_raises) for name in ("FirstFilter", "SecondFilter")]
    source = kit.source("Gone", writes={"id"}, fetch=_raises_later)
    result = run(kit.pipeline(sources=[kit.ids([1]), source], filters=parts).execute(kit.Ask()))
    assert result.degraded_reasons == ("Gone:error", "FirstFilter:error", "SecondFilter:error")


def test_the_default_observer_logs_the_traceback(
    kit: Any, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = kit.filter("Broken", keep=_raises)
    with caplog.at_level(logging.INFO):
        run(kit.pipeline(filters=[broken], observer=LoggingObserver()).execute(kit.Ask()))
    assert "component=Broken failed: RuntimeError: the store is down" in caplog.text
    assert "Traceback" in caplog.text
    assert caplog.text.count("Summary:") == 1
