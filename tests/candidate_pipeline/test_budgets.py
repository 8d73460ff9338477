"""No component, and no request, takes longer than it was given. All time here is virtual."""

import asyncio
import threading
from typing import Any

import numpy as np

from candidate_pipeline import FailurePolicy


def _takes(seconds: float, answer: Any) -> Any:
    async def hydrate(*_: Any) -> Any:
        await asyncio.sleep(seconds)
        return answer

    return hydrate


async def _timed(pipeline: Any, query: Any, **limits: Any) -> tuple[Any, float]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    result = await pipeline.execute(query, **limits)
    return result, loop.time() - started


FACTS = {"fact": np.zeros(3)}


def test_a_component_is_cut_at_its_own_budget(kit: Any, run: Any) -> None:
    slow = kit.hydrator("Slow", writes={"fact"}, hydrate=_takes(9, FACTS), budget_ms=50)
    result, seconds = run(_timed(kit.pipeline(hydrators=[slow]), kit.Ask()))
    assert result.degraded_reasons == ("Slow:timeout",)
    assert round(seconds, 6) == 0.05


def test_just_in_time_is_in_time(kit: Any, run: Any) -> None:
    slow = kit.hydrator("Slow", writes={"fact"}, hydrate=_takes(0.049, FACTS), budget_ms=50)
    result, _ = run(_timed(kit.pipeline(hydrators=[slow]), kit.Ask()))
    assert result.degraded_reasons == ()


def test_the_nearest_of_the_three_limits_holds_for_the_request(kit: Any, run: Any) -> None:
    async def timed(**limits: Any) -> float:
        parts = [
            kit.hydrator("A", writes={"fact"}, hydrate=kit.never, budget_ms=1e6),
            kit.hydrator("B", reads={"fact"}, writes={"deeper"}, hydrate=kit.never, budget_ms=1e6),
        ]
        pipeline = kit.pipeline(hydrators=parts, budget_ms=400)
        result, seconds = await _timed(pipeline, kit.Ask(), **limits)
        assert result.degraded_reasons == ("A:timeout", "B:timeout")
        return round(seconds, 6)

    assert run(timed()) == 0.4
    assert run(timed(remaining_ms=30)) == 0.03
    assert run(timed(deadline_s=0.2)) == 0.2
    assert run(timed(deadline_s=0.2, remaining_ms=100)) == 0.1
    assert run(timed(deadline_s=-1.0)) == 0.0


def test_components_of_a_wave_wait_at_the_same_time(kit: Any, run: Any) -> None:
    parts = [
        kit.hydrator("A", writes={"fact"}, hydrate=_takes(0.08, FACTS)),
        kit.hydrator("B", writes={"deeper"}, hydrate=_takes(0.08, {"deeper": np.zeros(3)})),
    ]
    result, seconds = run(_timed(kit.pipeline(hydrators=parts), kit.Ask()))
    assert result.degraded_reasons == ()
    assert round(seconds, 6) == 0.08


def test_sources_run_together_and_join_in_declared_order(kit: Any, run: Any) -> None:
    def source(name: str, seconds: float, ids: list[int]) -> Any:
        return kit.source(name, writes={"id"}, fetch=_takes(seconds, {"id": ids}))

    pipeline = kit.pipeline(sources=[source("Slow", 0.09, [5]), source("Fast", 0.01, [5, 6])])
    result, seconds = run(_timed(pipeline, kit.Ask(), explain=True))
    assert round(seconds, 6) == 0.09
    assert result.ledger.table["id"].tolist() == [5, 5, 6]
    assert result.ledger.table["sources"].tolist() == [1, 2, 2]
    assert (pipeline.source_bit("Slow"), pipeline.source_bit("Fast")) == (1, 2)


def test_a_slow_scorer_leaves_the_reserve_for_the_safety_check(kit: Any, run: Any) -> None:
    scorer = kit.scorer("Slow", writes={"score"}, score=kit.never, budget_ms=1e6)
    labels = kit.hydrator(
        "Labels",
        writes={"verdict"},
        hydrate=_takes(0.02, {"verdict": np.zeros(3, np.int8)}),
        fail_closed=lambda query, table: {"verdict": np.full(len(table), 2, np.int8)},
        on_failure=FailurePolicy.FAIL_CLOSED,
    )
    pipeline = kit.pipeline(
        scorers=[scorer], late_hydrators=[labels], budget_ms=100, late_reserve_ms=30
    )
    result, seconds = run(_timed(pipeline, kit.Ask()))
    assert result.degraded_reasons == ("Slow:timeout",)
    assert len(result.selected) == 3
    assert round(seconds, 6) == 0.09


def test_the_reserve_leaves_a_near_deadline_most_of_its_time(kit: Any, run: Any) -> None:
    """A caller who waits 60 ms gets candidates, not 60 ms of reserve for checking none."""
    source = kit.source("Slow", writes={"id"}, fetch=_takes(0.03, {"id": [7]}), budget_ms=1e6)
    pipeline = kit.pipeline(sources=[source], budget_ms=1_000, late_reserve_ms=100)
    result, _ = run(_timed(pipeline, kit.Ask(), remaining_ms=60))
    assert result.selected["id"].tolist() == [7]


def test_computing_components_still_run_when_time_is_up(kit: Any, run: Any) -> None:
    """A late answer must still be filtered."""
    filters = [kit.filter("Odd", reads={"id"}, keep=lambda query, table: table["id"] % 2 == 1)]
    slow = kit.hydrator("Slow", writes={"fact"}, hydrate=kit.never)
    pipeline = kit.pipeline(hydrators=[slow], filters=filters)
    result, _ = run(_timed(pipeline, kit.Ask(), remaining_ms=1))
    assert result.selected["id"].tolist() == [3, 1]


async def test_a_blocking_component_runs_on_a_thread_and_its_budget_holds(kit: Any) -> None:
    """On the real loop: the event is set only after the request has its answer."""
    released = threading.Event()

    def stuck(query: Any, table: Any) -> Any:
        released.wait(60)
        return np.ones(len(table), np.bool_)

    threads: list[int] = []

    def other(query: Any, table: Any) -> Any:
        threads.append(threading.get_ident())
        return table["id"] != 1

    filters = [
        kit.filter("Stuck", keep=stuck, blocking=True, budget_ms=5),
        kit.filter("Other", keep=other, blocking=True, budget_ms=60_000),
    ]
    pipeline = kit.pipeline(filters=filters, budget_ms=120_000)
    try:
        result = await pipeline.execute(kit.Ask())
    finally:
        released.set()
        pipeline.close()
    assert result.degraded_reasons == ("Stuck:timeout",)
    assert result.selected["id"].tolist() == [3, 2]
    assert threads != [threading.get_ident()]
