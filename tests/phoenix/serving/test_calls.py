"""Whatever goes wrong, the caller gets a status that says so, in time, and it is counted."""

import asyncio
import random
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from phoenix.serving.batcher import DeadlineError
from phoenix.serving.calls import Calls, NoModelError, NotFiniteError
from phoenix.serving.canary import Canary
from phoenix.serving.inputs import BadRequestError
from phoenix.serving.prediction import PredictionServicer
from phoenix.serving.served import Scores
from service_kit.snowflake import SnowflakeGenerator


class AbortedError(Exception):
    """What grpc's abort raises."""


class RpcContext:
    """A call with a deadline."""

    def __init__(self, left_s=None):
        self._left_s = left_s
        self.code = self.details = None

    def time_remaining(self):
        return self._left_s

    def invocation_metadata(self):
        return ()

    async def abort(self, code, details):
        self.code, self.details = code, details
        raise AbortedError


@pytest.fixture
def calls(telemetry, clock):
    return Calls(telemetry, clock)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequestError("too many"), "INVALID_ARGUMENT"),
        (NoModelError("none yet"), "FAILED_PRECONDITION"),
        (DeadlineError("queued too long"), "DEADLINE_EXCEEDED"),
        (NotFiniteError("NaN"), "INTERNAL"),
        (KeyError("a bug"), "INTERNAL"),
    ],
)
async def test_an_error_becomes_its_status_and_is_counted(calls, metrics, caplog, error, code):
    async def body(deadline_s):
        raise error

    context = RpcContext()
    with pytest.raises(AbortedError):
        await calls.answer("Predict", SimpleNamespace(request_id="r"), context, body)
    assert context.code is grpc.StatusCode[code]
    assert context.details == str(error)
    assert metrics.value("requests_total", method="Predict", code=code) == 1
    assert ("call failed" in caplog.messages) == (code == "INTERNAL")


async def test_a_call_ends_at_its_deadline_whatever_the_model_does(calls, metrics):
    async def body(deadline_s):
        await asyncio.Event().wait()

    context = RpcContext(left_s=0.01)
    with pytest.raises(AbortedError):
        await calls.answer("Predict", SimpleNamespace(request_id="r"), context, body)
    assert context.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "deadline" in context.details
    assert metrics.value("requests_total", method="Predict", code="DEADLINE_EXCEEDED") == 1


async def test_nan_never_leaves_the_service(
    calls, telemetry, clock, worker, ranker, requests, metrics
):
    class NanBatcher:
        async def score(self, model, context, candidates, deadline_s):
            good = np.zeros((2, 18), np.float32)
            return Scores(good, np.array([1.0, np.nan], np.float32))

    canary = Canary(worker, telemetry, clock, random.Random(1), interval_seconds=10)
    ids = SnowflakeGenerator(0, clock)
    servicer = PredictionServicer(
        NanBatcher(), canary, calls, telemetry, clock, ids, context_step_ms=1000
    )
    servicer.install(ranker)
    context = RpcContext()
    with pytest.raises(AbortedError):
        await servicer.PredictNextActions(requests.prediction(7, [1, 2]), context)
    assert context.code is grpc.StatusCode.INTERNAL
    assert metrics.value("not_finite_total", model="ranker") == 1
