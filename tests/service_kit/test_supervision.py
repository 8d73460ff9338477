"""A part of a service that ends is started again, and everybody can see that it did."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service_kit.clock import SystemClock
from service_kit.event_log import LogUnavailableError
from service_kit.supervision import supervise

QUICK = (0.001, 0.002)


class Part:
    """Ends in each of the given ways, then lives."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = list(ends)
        self.lives = 0
        self.alive = asyncio.Event()

    async def life(self) -> None:
        self.lives += 1
        if self._ends:
            end = self._ends.pop(0)
            if end is not None:
                raise end
            return
        self.alive.set()
        await asyncio.Event().wait()


async def outlive(bench: Any, part: Part) -> asyncio.Task[None]:
    task = asyncio.create_task(
        supervise(
            part.life,
            name="posts",
            ready_as="svc",
            readiness=bench.readiness,
            metrics=bench.metrics,
            clock=SystemClock(),
            backoff_s=QUICK,
        )
    )
    await asyncio.wait_for(part.alive.wait(), 20)
    return task


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_part_that_dies_or_just_ends_is_started_again_and_counted(bench: Any) -> None:
    part = Part(RuntimeError("a bug"), None, KeyError("another"))
    task = await outlive(bench, part)
    assert part.lives == 4
    assert bench.metrics.value("part_restarts_total", part="posts") == 3
    await stop(task)


async def test_between_two_lives_the_reason_stands_in_the_readiness(bench: Any) -> None:
    reasons = []
    bench.readiness.listen(lambda *_: reasons.append(bench.readiness.state("svc").reason))
    task = await outlive(bench, Part(RuntimeError("a bug")))
    assert any("posts" in reason and "a bug" in reason for reason in reasons)
    assert not bench.readiness.serving("svc"), "only the next life may say that it serves"
    await stop(task)


async def test_what_an_operator_can_expect_is_told_without_a_traceback(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A Kafka that is away for an hour must not bury the log in stack traces."""
    part = Part(LogUnavailableError("away"), LogUnavailableError("away"), RuntimeError("a bug"))
    task = await outlive(bench, part)
    told = [bool(r.exc_info) for r in caplog.records if r.message == "started again"]
    assert told == [False, False, True]
    await stop(task)


async def test_cancelling_ends_it_at_once(bench: Any) -> None:
    part = Part()
    await stop(await outlive(bench, part))
    assert part.lives == 1
    assert bench.metrics.value("part_restarts_total", part="posts") == 0
