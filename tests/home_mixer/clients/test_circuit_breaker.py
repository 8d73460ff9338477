"""A dependency that does not answer is left alone, and asked again when it may be back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest

from candidate_pipeline.errors import Degraded
from home_mixer.clients.circuit_breaker import Breaker, BreakerLimits, Breakers, CircuitOpen, State
from home_mixer.clients.protocols import StoreError
from service_kit.clock import ManualClock
from service_kit.metrics import Metrics

LIMITS = BreakerLimits(
    window_seconds=5,
    failure_share=0.5,
    calls_min=10,
    failures_in_a_row=1_000,  # the window alone decides, but where a test says otherwise
    open_seconds=1,
    probes=2,
)
BUDGET_MS = 400


def rpc_error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


UNAVAILABLE = rpc_error(grpc.StatusCode.UNAVAILABLE)


class Dependency:
    """Answers, fails or hangs; counts how often it was asked."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked = 0
        self.error: BaseException | None = None
        self.takes_ms = 0

    async def ask(self) -> str:
        self.asked += 1
        self.clock.advance_ms(self.takes_ms)
        if self.error is not None:
            raise self.error
        return "answer"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("home_mixer")


@pytest.fixture
def breaker(clock: ManualClock, metrics: Metrics) -> Breaker:
    return Breakers(LIMITS, clock, metrics).to("thunder", BUDGET_MS)


@pytest.fixture
def dependency(clock: ManualClock) -> Dependency:
    return Dependency(clock)


async def asked(breaker: Breaker, dependency: Dependency, times: int = 1) -> list[str]:
    """What each call came to."""
    ends = []
    for _ in range(times):
        try:
            ends.append(await breaker.run(dependency.ask))
        except BaseException as error:  # noqa: BLE001 - cancellations are among what is tried
            ends.append(type(error).__name__)
    return ends


async def opened(breaker: Breaker, dependency: Dependency) -> None:
    dependency.error = UNAVAILABLE
    await asked(breaker, dependency, LIMITS.calls_min)
    assert breaker.state is State.OPEN


async def test_half_of_the_calls_failing_opens_it_and_nobody_waits_any_more(
    breaker: Breaker, dependency: Dependency, metrics: Metrics
) -> None:
    await asked(breaker, dependency, 5)
    dependency.error = UNAVAILABLE
    assert await asked(breaker, dependency, 4) == ["AioRpcError"] * 4
    assert breaker.state is State.CLOSED  # 4 of 9
    await asked(breaker, dependency)
    assert breaker.state is State.OPEN
    before = dependency.asked
    assert await asked(breaker, dependency, 3) == ["CircuitOpen"] * 3
    assert dependency.asked == before
    assert metrics.value("circuit_state", to="thunder") == 2
    assert metrics.value("circuit_transitions_total", to="thunder", state="open") == 1
    assert metrics.value("circuit_refused_total", to="thunder") == 3


async def test_an_open_circuit_is_a_degraded_reason_of_its_own(
    breaker: Breaker, dependency: Dependency
) -> None:
    """Components report it without knowing of breakers."""
    await opened(breaker, dependency)
    with pytest.raises(Degraded) as refused:
        await breaker.run(dependency.ask)
    assert refused.value.reason == "circuit_open"
    assert isinstance(refused.value, CircuitOpen)
    assert "thunder" in str(refused.value)


async def test_few_calls_prove_nothing(breaker: Breaker, dependency: Dependency) -> None:
    """One bad answer in a quiet night must not cut a dependency off."""
    dependency.error = UNAVAILABLE
    await asked(breaker, dependency, LIMITS.calls_min - 1)
    assert breaker.state is State.CLOSED


async def test_failures_of_long_ago_do_not_count(
    breaker: Breaker, dependency: Dependency, clock: ManualClock
) -> None:
    dependency.error = UNAVAILABLE
    await asked(breaker, dependency, LIMITS.calls_min - 1)
    clock.advance_ms(5_000)
    await asked(breaker, dependency, LIMITS.calls_min - 1)
    assert breaker.state is State.CLOSED


async def probed(breaker: Breaker, dependency: Dependency) -> None:
    """One call, which is refused, and the probe that it gives rise to."""
    assert await asked(breaker, dependency) == ["CircuitOpen"]
    for _ in range(5):  # the probe's task has no more steps than that
        await asyncio.sleep(0)


async def test_probes_close_it_again_without_a_hand(
    breaker: Breaker, dependency: Dependency, clock: ManualClock
) -> None:
    await opened(breaker, dependency)
    dependency.error = None
    before = dependency.asked
    await probed(breaker, dependency)
    assert dependency.asked == before  # too soon
    clock.advance_ms(1_000)
    await probed(breaker, dependency)
    assert breaker.state is State.HALF_OPEN
    await probed(breaker, dependency)
    assert breaker.state is State.CLOSED
    assert await asked(breaker, dependency) == ["answer"]


async def test_a_probe_that_fails_opens_it_for_another_while(
    breaker: Breaker, dependency: Dependency, clock: ManualClock
) -> None:
    await opened(breaker, dependency)
    before = dependency.asked
    clock.advance_ms(1_000)
    await probed(breaker, dependency)
    clock.advance_ms(999)
    await probed(breaker, dependency)
    assert breaker.state is State.OPEN
    assert dependency.asked == before + 1


async def test_nobody_waits_for_a_probe_and_there_is_one_at_a_time(
    breaker: Breaker, dependency: Dependency, clock: ManualClock
) -> None:
    """A paused dependency costs no feed its time."""
    await opened(breaker, dependency)
    clock.advance_ms(1_000)
    asks, back = 0, asyncio.Event()

    async def wait() -> str:
        nonlocal asks
        asks += 1
        await back.wait()
        return "back"

    for _ in range(5):
        with pytest.raises(CircuitOpen):
            await breaker.run(wait)
        await asyncio.sleep(0)
    assert asks == 1
    back.set()
    dependency.error = None
    for _ in range(2):
        await probed(breaker, dependency)
    assert await asked(breaker, dependency) == ["answer"]


async def test_a_probe_ends_with_its_budget(clock: ManualClock, metrics: Metrics) -> None:
    """Else a dependency that hangs would be probed once and never again."""
    breaker = Breakers(LIMITS, clock, metrics).to("redis", 10)
    await opened(breaker, Dependency(clock))
    clock.advance_ms(1_000)
    ended = asyncio.Event()

    async def hang() -> str:
        try:
            clock.advance_ms(10)
            await asyncio.Event().wait()
            return "never"
        finally:
            ended.set()

    with pytest.raises(CircuitOpen):
        await breaker.run(hang)
    async with asyncio.timeout(30):
        await ended.wait()
    await asyncio.sleep(0)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    "error",
    [
        UNAVAILABLE,
        StoreError("the disk is gone"),
        ConnectionRefusedError("nobody listens"),
    ],
)
async def test_what_counts_as_the_dependencys_failure(
    breaker: Breaker, dependency: Dependency, error: Exception
) -> None:
    dependency.error = error
    await asked(breaker, dependency, LIMITS.calls_min)
    assert breaker.state is State.OPEN


@pytest.mark.parametrize(
    "error",
    [
        rpc_error(grpc.StatusCode.INVALID_ARGUMENT),
        rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED),
        rpc_error(grpc.StatusCode.NOT_FOUND),
        ValueError("a bug of ours"),
    ],
)
async def test_a_refusal_is_an_answer(
    breaker: Breaker, dependency: Dependency, error: Exception
) -> None:
    """One client's senseless requests must not cut off everybody's feed."""
    dependency.error = error
    await asked(breaker, dependency, 3 * LIMITS.calls_min)
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize(
    "error",
    [
        rpc_error(grpc.StatusCode.DEADLINE_EXCEEDED),
        TimeoutError(),
        asyncio.CancelledError(),  # how a component's budget ends a call
    ],
)
@pytest.mark.parametrize(("waited_ms", "state"), [(199, State.CLOSED), (201, State.OPEN)])
async def test_a_timeout_counts_after_a_fair_wait_only(
    breaker: Breaker, dependency: Dependency, error: Any, waited_ms: int, state: State
) -> None:
    """Callers with deadlines of milliseconds say nothing about the dependency."""
    dependency.error, dependency.takes_ms = error, waited_ms
    await asked(breaker, dependency, LIMITS.calls_min)
    assert breaker.state is state


async def test_answers_to_calls_of_before_do_not_close_or_open_anything(
    breaker: Breaker, dependency: Dependency, clock: ManualClock
) -> None:
    """A call that hung since before the circuit opened ends when it is half open."""
    late: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait() -> str:
        return await late

    hung = asyncio.create_task(breaker.run(wait))
    await asyncio.sleep(0)
    await opened(breaker, dependency)
    clock.advance_ms(1_000)
    dependency.error = None
    await probed(breaker, dependency)
    late.set_exception(UNAVAILABLE)
    with pytest.raises(grpc.aio.AioRpcError):
        await hung
    assert breaker.state is State.HALF_OPEN


async def test_one_that_is_gone_is_noticed_however_well_it_did_before(
    clock: ManualClock, metrics: Metrics, dependency: Dependency
) -> None:
    """A hundred good answers of the last seconds must not cost the next fifty feeds a time-out."""
    limits = replace(LIMITS, failures_in_a_row=5)
    breaker = Breakers(limits, clock, metrics).to("posts", BUDGET_MS)
    assert set(await asked(breaker, dependency, 100)) == {"answer"}
    dependency.error = UNAVAILABLE
    assert set(await asked(breaker, dependency, 5)) == {"AioRpcError"}
    assert set(await asked(breaker, dependency, 5)) == {"CircuitOpen"}
    assert dependency.asked == 105


async def test_single_failures_among_good_answers_open_nothing(
    clock: ManualClock, metrics: Metrics, dependency: Dependency
) -> None:
    breaker = Breakers(replace(LIMITS, failures_in_a_row=5), clock, metrics).to("posts", BUDGET_MS)
    for _ in range(20):
        dependency.error = None
        await asked(breaker, dependency, 10)
        dependency.error = UNAVAILABLE
        await asked(breaker, dependency, 4)
    assert breaker.state is State.CLOSED
