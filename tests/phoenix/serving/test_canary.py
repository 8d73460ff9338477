"""A broken promise of independence must be seen by an operator, not by a viewer."""

import random

import numpy as np
import pytest

from phoenix.serving.canary import Canary
from phoenix.serving.inputs import build_candidates, build_context
from phoenix.serving.served import Scores


@pytest.fixture
def canary(worker, telemetry, clock):
    return Canary(worker, telemetry, clock, random.Random(1), interval_seconds=10)


@pytest.fixture
def asked(ranker, requests):
    config = ranker.programs.config
    context = build_context(config, requests.sequence(5), requests.now_ms, 1000)
    candidates = build_candidates(config, requests.candidates(range(40)), 1, requests.now_ms)
    return context, candidates, ranker.score_one(ranker.encode(context.inputs), candidates, 64)


async def test_a_sound_model_differs_by_rounding_only(canary, ranker, asked, metrics):
    assert await canary.check(ranker, *asked) < 1e-6
    assert metrics.value("canary_checks_total") == 1
    assert metrics.value("canary_difference_max") < 1e-6


async def test_a_score_that_depends_on_its_batch_shows_in_the_metric_and_the_log(
    canary, ranker, asked, metrics, caplog
):
    context, candidates, answer = asked
    moved = Scores(answer.log_probs - np.float32(0.01), answer.dwell_seconds)
    await canary.check(ranker, context, candidates, moved)
    await canary.check(ranker, context, candidates, answer)
    assert metrics.value("canary_difference_max") > 1e-4  # the worst is kept
    assert [record.message for record in caplog.records] == ["a score depends on its batch"]


def test_checks_keep_their_distance(canary, clock):
    assert [canary.due(), canary.due()] == [True, False]
    clock.advance_ms(10_000)
    assert canary.due()
