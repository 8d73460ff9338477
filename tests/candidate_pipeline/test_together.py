"""Components of a wave: who waits does so beside the others, and who need not costs no task."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from candidate_pipeline import FailurePolicy, PipelineFailed
from candidate_pipeline.together import resumed, run_wave


def after(seconds: float, value: Any, seen: list[Any]) -> Callable[[], Any]:
    async def run() -> Any:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            seen.append(f"{value} stopped")
            raise
        if isinstance(value, Exception):
            raise value
        seen.append(value)
        return value

    return run


def now(value: Any, seen: list[Any]) -> Callable[[], Any]:
    async def run() -> Any:
        if isinstance(value, Exception):
            raise value
        seen.append((value, len(asyncio.all_tasks())))
        return value

    return run


async def _timed(work: Awaitable[Any]) -> tuple[Any, float]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    return await work, loop.time() - started


def test_what_need_not_wait_makes_no_task(run: Any) -> None:
    """A task for each of thirty components is a tenth of a feed."""
    seen: list[Any] = []
    assert run(run_wave([now("a", seen), now("b", seen)], [True, True])) == ["a", "b"]
    assert seen == [("a", 1), ("b", 1)]


def test_plain_ones_come_first_and_results_keep_their_order(run: Any) -> None:
    seen: list[Any] = []
    runs = [after(2, "slow", seen), now("plain", seen), after(1, "fast", seen)]
    results, seconds = run(_timed(run_wave(runs, [True, False, True])))
    assert results == ["slow", "plain", "fast"]
    assert seen == [("plain", 1), "fast", "slow"]
    assert seconds == 2


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_one_that_raises_stops_the_others_at_once(run: Any, failing: int) -> None:
    """A request that cannot be answered must not hold its callers up."""
    seen: list[Any] = []
    runs = [after(60, name, seen) for name in "abc"]
    runs[failing] = after(1, ValueError("no"), seen)

    async def caught() -> Any:
        with pytest.raises(ValueError, match="no"):
            await run_wave(runs, [True] * 3)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling(), len(asyncio.all_tasks())

    (cancelling, tasks), seconds = run(_timed(caught()))
    assert (cancelling, tasks, seconds) == (0, 1, 1)
    assert sorted(seen) == [f"{name} stopped" for name in "abc" if name != "abc"[failing]]


def test_one_that_raises_at_once_ends_the_wave_before_the_next_begins(run: Any) -> None:
    seen: list[Any] = []
    with pytest.raises(ValueError, match="no"):
        run(run_wave([now(ValueError("no"), seen), now("b", seen)], [True, True]))
    assert seen == []


def test_the_end_of_the_request_stops_all_and_stays_the_end(run: Any) -> None:
    seen: list[Any] = []

    async def cancelled() -> bool:
        wave = asyncio.ensure_future(
            run_wave([after(60, "a", seen), after(60, "b", seen)], [True, True])
        )
        await asyncio.sleep(1)
        wave.cancel()
        await asyncio.wait([wave])
        return wave.cancelled()

    assert run(cancelled())
    assert sorted(seen) == ["a stopped", "b stopped"]


def test_an_end_that_comes_with_a_failure_is_not_swallowed(run: Any) -> None:
    """Who cancels a request must see it cancelled, whatever happened in that moment."""
    seen: list[Any] = []

    async def both() -> bool:
        runs = [after(60, "a", seen), after(1, ValueError("no"), seen)]
        wave = asyncio.ensure_future(run_wave(runs, [True, True]))
        await asyncio.sleep(0.5)
        asyncio.get_running_loop().call_at(asyncio.get_running_loop().time() + 0.5, wave.cancel)
        await asyncio.wait([wave])
        return wave.cancelled()

    assert run(both())


def test_a_coroutine_goes_on_where_it_was_and_hears_of_its_end(run: Any) -> None:
    seen: list[Any] = []

    async def steps() -> str:
        for _ in range(3):
            await asyncio.sleep(1)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("told")
        return "done"

    async def driven() -> str:
        coroutine = steps()
        task = asyncio.ensure_future(_wait(resumed(coroutine, coroutine.send(None))))
        await asyncio.sleep(10)
        task.cancel()
        return await task

    assert run(driven()) == "done"
    assert seen == ["told"]


async def _wait(what: Awaitable[str]) -> str:
    return await what


@pytest.mark.parametrize("failing", ["A", "B"])
def test_a_request_fails_when_its_component_does_and_not_when_the_slowest_ends(
    kit: Any, run: Any, failing: str
) -> None:
    async def fails(*_: Any) -> Any:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    parts = [
        kit.hydrator(
            name,
            writes={column},
            hydrate=fails if name == failing else kit.never,
            budget_ms=500,
            on_failure=FailurePolicy.FAIL_REQUEST if name == failing else FailurePolicy.SKIP,
        )
        for name, column in (("A", "fact"), ("B", "deeper"))
    ]

    async def asked() -> float:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(PipelineFailed, match=failing):
            await kit.pipeline(hydrators=parts).execute(kit.Ask())
        return loop.time() - started

    assert round(run(asked()), 6) == 0.01
