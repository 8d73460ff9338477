"""Side effects never delay or break a response, never pile up, and are not lost at shutdown."""

import asyncio
from typing import Any

import pytest

from candidate_pipeline import Stage


def _gated(done: list[Any], gate: asyncio.Event) -> Any:
    async def effect(query: Any, result: Any) -> None:
        await gate.wait()
        done.append((query.request_id, result.selected["id"].tolist()))

    return effect


def test_the_response_does_not_wait_and_the_drain_does(kit: Any, run: Any) -> None:
    async def scenario() -> None:
        done: list[Any] = []
        gate = asyncio.Event()
        effect = kit.side_effect("Cache", run=_gated(done, gate), budget_ms=10_000)
        pipeline = kit.pipeline(side_effects=[effect])
        await pipeline.execute(kit.Ask())
        assert done == []
        gate.set()
        assert await pipeline.drain(timeout_s=5)
        assert done == [("r1", [3, 2, 1])]
        report = pipeline.observer.report("Cache")
        assert (report.stage, report.error) == (Stage.SIDE_EFFECT, None)

    run(scenario())


def test_a_failing_or_hanging_one_is_reported_and_the_others_run(kit: Any, run: Any) -> None:
    async def scenario() -> None:
        async def breaks(query: Any, result: Any) -> None:
            raise RuntimeError("no room")

        done: list[Any] = []
        gate = asyncio.Event()
        gate.set()
        effects = [
            kit.side_effect("Breaks", run=breaks),
            kit.side_effect("Hangs", run=kit.never, budget_ms=50),
            kit.side_effect("Off", run=breaks, enable=lambda query: False),
            kit.side_effect("Works", run=_gated(done, gate)),
        ]
        pipeline = kit.pipeline(side_effects=effects)
        assert (await pipeline.execute(kit.Ask())).degraded_reasons == ()
        assert await pipeline.drain(timeout_s=5)
        observer = pipeline.observer
        assert observer.report("Breaks").reason == "Breaks:error"
        assert observer.report("Hangs").reason == "Hangs:timeout"
        assert not observer.report("Off").enabled
        assert len(done) == 1

    run(scenario())


def test_concurrency_and_queue_are_bounded_and_what_does_not_fit_is_counted(
    kit: Any, run: Any
) -> None:
    async def scenario() -> None:
        done: list[Any] = []
        gate, both = asyncio.Event(), asyncio.Event()
        running, most = 0, 0

        async def effect(query: Any, result: Any) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 2:
                both.set()
            await gate.wait()
            running -= 1
            done.append(query.request_id)

        pipeline = kit.pipeline(
            side_effects=[kit.side_effect("Slow", run=effect, budget_ms=10_000)],
            side_effect_concurrency_max=2,
            side_effect_queue_max=3,
        )
        for i in range(7):
            await pipeline.execute(kit.Ask(request_id=str(i)))
        assert pipeline.side_effects.pending_count == 5
        assert pipeline.observer.dropped == ["Slow", "Slow"]
        await both.wait()
        gate.set()
        assert await pipeline.drain(timeout_s=5)
        assert done == ["0", "1", "2", "3", "4"]
        assert most == 2
        assert pipeline.side_effects.dropped_count == 2

    run(scenario())


def test_a_drain_ends_at_its_time_and_says_what_it_cut(kit: Any, run: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        pipeline = kit.pipeline(
            side_effects=[kit.side_effect("Stuck", run=kit.never, budget_ms=1e9)],
            side_effect_concurrency_max=1,
        )
        for _ in range(3):
            await pipeline.execute(kit.Ask())
        assert not await pipeline.drain(timeout_s=2)
        assert loop.time() == pytest.approx(2)
        assert pipeline.side_effects.pending_count == 0
        assert pipeline.observer.dropped == ["Stuck"] * 3

    run(scenario())


def test_a_cancelled_request_stops_its_components_and_has_no_side_effects(
    kit: Any, run: Any
) -> None:
    """The caller hung up: nobody must go on working for it."""

    async def scenario() -> None:
        stopped: list[str] = []
        started = asyncio.Event()

        def waits(name: str) -> Any:
            async def hydrate(*_: Any) -> Any:
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    stopped.append(name)

            return hydrate

        done: list[Any] = []
        gate = asyncio.Event()
        gate.set()
        pipeline = kit.pipeline(
            hydrators=[
                kit.hydrator("A", writes={"fact"}, hydrate=waits("A")),
                kit.hydrator("B", writes={"deeper"}, hydrate=waits("B")),
            ],
            side_effects=[kit.side_effect("Cache", run=_gated(done, gate))],
        )
        request = asyncio.ensure_future(pipeline.execute(kit.Ask()))
        await started.wait()
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert sorted(stopped) == ["A", "B"]
        assert await pipeline.drain(timeout_s=1)
        assert done == []
        assert pipeline.observer.results == []
        assert pipeline.observer.errors == []

    run(scenario())


def test_fail_request_stops_the_other_components_of_the_wave(kit: Any, run: Any) -> None:
    async def scenario() -> None:
        stopped: list[str] = []

        async def waits(*_: Any) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append("Waits")

        async def breaks(*_: Any) -> Any:
            await asyncio.sleep(0.01)
            raise RuntimeError("vital")

        parts = [
            kit.hydrator("Waits", writes={"fact"}, hydrate=waits),
            kit.hydrator(
                "Vital", writes={"deeper"}, hydrate=breaks, on_failure=kit.Policy.FAIL_REQUEST
            ),
        ]
        with pytest.raises(RuntimeError, match="Vital failed"):
            await kit.pipeline(hydrators=parts).execute(kit.Ask())
        assert stopped == ["Waits"]

    run(scenario())
