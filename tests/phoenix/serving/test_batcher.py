"""Work must be merged, cut and dropped as promised, and every caller must get their own answer."""

import asyncio
import math
from types import SimpleNamespace

import numpy as np
import pytest

from phoenix.features import CandidateInputs
from phoenix.serving.batcher import DeadlineError, ScoreBatcher
from phoenix.serving.context_cache import ContextCache
from phoenix.serving.inputs import Context
from phoenix.serving.served import Scores

ACTIONS = 2


class EchoModel:
    """Answers viewer + candidate for each candidate and notes every call."""

    version = "echo"

    def __init__(self, shapes):
        config = SimpleNamespace(num_actions=ACTIONS)
        self.programs = SimpleNamespace(shapes=shapes, config=config)
        self.calls = []
        self.error = None

    def encode(self, viewer):
        self.calls.append(("encode", viewer))
        return viewer

    def score_one(self, cache, candidates, bucket):
        if self.error:
            raise self.error
        self.calls.append(("one", candidates.surface.shape[1], bucket))
        return self._answer(cache, candidates)

    def score_merged(self, caches, candidates):
        self.calls.append(("merged", len(caches)))
        return [self._answer(*pair) for pair in zip(caches, candidates, strict=True)]

    def _answer(self, viewer, candidates):
        value = (viewer + candidates.surface[0]).astype(np.float32)
        return Scores(np.stack([value] * ACTIONS, axis=1), value)


def viewer_context(viewer):
    return Context(viewer, str(viewer).encode())


def candidates_of(count):
    numbers = np.arange(count)[None]
    return CandidateInputs(numbers[..., None], numbers[..., None], numbers, numbers)


@pytest.fixture
def model(shapes):
    return EchoModel(shapes)


@pytest.fixture
def batcher(worker, telemetry, clock):
    return ScoreBatcher(worker, ContextCache(100), telemetry, clock, merge_wait_ms=1000)


async def ask(batcher, model, viewer, count, deadline_s=math.inf):
    return await batcher.score(model, viewer_context(viewer), candidates_of(count), deadline_s)


def assert_right(answer, viewer, count):
    expected = (viewer + np.arange(count)).astype(np.float32)
    np.testing.assert_array_equal(answer.dwell_seconds, expected)
    np.testing.assert_array_equal(answer.log_probs, np.stack([expected] * ACTIONS, axis=1))


async def test_small_requests_that_wait_together_share_one_call(batcher, model, run_for):
    viewers = [1000, 2000, 3000, 4000]
    asked = asyncio.gather(*(ask(batcher, model, v, v // 1000) for v in viewers))
    answers = await run_for(asked, batcher.run())
    for viewer, answer in zip(viewers, answers, strict=True):
        assert_right(answer, viewer, viewer // 1000)
    assert [call for call in model.calls if call[0] != "encode"] == [("merged", 4)]


async def test_a_large_request_is_cut_and_never_merged(batcher, model, run_for):
    asked = asyncio.gather(*(ask(batcher, model, v, 170) for v in (1000, 2000, 3000)))
    for viewer, answer in zip((1000, 2000, 3000), await run_for(asked, batcher.run()), strict=True):
        assert_right(answer, viewer, 170)
    assert {call for call in model.calls if call[0] != "encode"} == {
        ("one", 64, 64),
        ("one", 42, 64),
    }
    assert sum(call[0] == "encode" for call in model.calls) == 3  # once a viewer, not once a chunk


async def test_small_work_is_not_kept_waiting_behind_a_large_request(batcher, model, run_for):
    large = asyncio.ensure_future(ask(batcher, model, 1000, 64 * 5))
    await asyncio.sleep(0)  # the large request queues first
    asked = asyncio.gather(large, ask(batcher, model, 2000, 1))
    await run_for(asked, batcher.run())
    sizes = [call[1] for call in model.calls if call[0] == "one"]
    assert sizes.index(1) <= 1


async def test_a_lone_request_does_not_wait_for_company(batcher, model, run_for, clock):
    # The clock stands still, so a wait of any length would never end.
    assert_right(await run_for(ask(batcher, model, 1000, 3), batcher.run()), 1000, 3)


async def test_a_request_waits_for_as_many_as_the_last_call_had(batcher, model, run_for):
    async def late(viewer, ticks):
        for _ in range(ticks):
            await asyncio.sleep(0)
        return await ask(batcher, model, viewer, 1)

    async def two_waves():
        await asyncio.gather(*(ask(batcher, model, v, 1) for v in (1000, 2000, 3000)))
        await asyncio.gather(*(late(v, v // 300) for v in (1000, 2000, 3000)))

    await run_for(two_waves(), batcher.run())
    assert [call for call in model.calls if call[0] != "encode"] == [("merged", 3)] * 2


async def test_work_whose_deadline_passed_is_not_done(batcher, model, run_for, clock, metrics):
    clock.advance_ms(10_000)
    with pytest.raises(DeadlineError):
        await run_for(ask(batcher, model, 1000, 70, deadline_s=9.0), batcher.run())
    assert model.calls == []
    assert metrics.value("expired_jobs_total") == 2


async def test_work_that_nobody_waits_for_any_more_is_not_done(batcher, model, run_for, metrics):
    gone = asyncio.ensure_future(ask(batcher, model, 1000, 3))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert_right(await run_for(ask(batcher, model, 2000, 3), batcher.run()), 2000, 3)
    assert ("encode", 1000) not in model.calls
    assert metrics.value("expired_jobs_total") == 1


async def test_a_model_that_fails_fails_its_callers_and_not_the_service(batcher, model, run_for):
    async def both():
        model.error = RuntimeError("broken")
        with pytest.raises(RuntimeError, match="broken"):
            await ask(batcher, model, 1000, 100)
        model.error = None
        return await ask(batcher, model, 1000, 100)

    assert_right(await run_for(both(), batcher.run()), 1000, 100)


async def test_no_candidates_need_no_model(batcher, model, run_for):
    answer = await run_for(ask(batcher, model, 1000, 0), batcher.run())
    assert answer.log_probs.shape == (0, ACTIONS)
    assert model.calls == []


async def test_the_same_viewer_is_encoded_once(batcher, model, run_for):
    async def twice():
        await ask(batcher, model, 1000, 3)
        await ask(batcher, model, 1000, 5)

    await run_for(twice(), batcher.run())
    assert model.calls.count(("encode", 1000)) == 1
