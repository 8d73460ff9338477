"""PredictionService: probabilities of every action for each candidate of a viewer."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from phoenix.features import CandidateInputs
from phoenix.serving.batcher import ScoreBatcher
from phoenix.serving.calls import Calls, NoModelError, NotFiniteError, RpcContext
from phoenix.serving.canary import Canary
from phoenix.serving.candidate_columns import candidate_columns
from phoenix.serving.inputs import (
    Context,
    build_context,
    candidates_of,
    check_prediction,
    context_time_ms,
)
from phoenix.serving.served import Scores, ServedRanker
from phoenix.serving.telemetry import Telemetry
from phoenix.serving.wire import merge_floats
from protos import actions_pb2
from protos import phoenix_pb2 as pb
from protos import phoenix_pb2_grpc as pb_grpc
from service_kit.clock import Clock
from service_kit.snowflake import SnowflakeGenerator

logger = logging.getLogger(__name__)


# Up to here both conversions of a request take under half a millisecond together; beyond, they
# leave the event loop, and a hop to another thread costs less than they do.
INLINE_CANDIDATES_MAX = 512

T = TypeVar("T")


class PredictionServicer(pb_grpc.PredictionServiceServicer):
    """Answers with the model that `install` set last."""

    def __init__(
        self,
        batcher: ScoreBatcher,
        canary: Canary,
        calls: Calls,
        telemetry: Telemetry,
        clock: Clock,
        ids: SnowflakeGenerator,
        *,
        context_step_ms: int,
    ) -> None:
        self._batcher = batcher
        self._canary = canary
        self._calls = calls
        self._telemetry = telemetry
        self._clock = clock
        self._ids = ids
        self._context_step_ms = context_step_ms
        self._model: ServedRanker | None = None
        self._canary_tasks: set[asyncio.Task[None]] = set()

    def install(self, model: ServedRanker) -> None:
        """Requests that begin from now on use this model."""
        self._model = model

    async def PredictNextActions(  # noqa: N802 - the name that the proto gives
        self,
        request: pb.PredictNextActionsRequest,
        context: RpcContext,
    ) -> pb.PredictNextActionsResponse:
        return await self._calls.answer(
            "PredictNextActions", request, context, lambda until_s: self._predict(request, until_s)
        )

    async def drain(self) -> None:
        """Waits for the canary's checks."""
        await asyncio.gather(*self._canary_tasks)

    async def _predict(
        self, request: pb.PredictNextActionsRequest, deadline_s: float
    ) -> pb.PredictNextActionsResponse:
        check_prediction(request)
        model = self._model
        if model is None:
            raise NoModelError("no ranker is loaded yet: train one, or wait for its checkpoint")
        self._telemetry.candidates.observe(len(request.candidates))
        count = len(request.candidates)
        context, candidates = await _run(count, partial(self._inputs, model, request))
        scores = await self._batcher.score(model, context, candidates, deadline_s)
        if not (np.isfinite(scores.log_probs).all() and np.isfinite(scores.dwell_seconds).all()):
            self._telemetry.not_finite.labels("ranker").inc()
            raise NotFiniteError(f"model {model.version} answered a number that is not finite")
        if request.candidates and self._canary.due():
            self._start_canary(model, context, candidates, scores)
        at_ms = context_time_ms(request.now_ms, self._context_step_ms) if request.now_ms else 0
        return await _run(count, partial(self._response, model, scores, at_ms))

    def _inputs(
        self, model: ServedRanker, request: pb.PredictNextActionsRequest
    ) -> tuple[Context, CandidateInputs]:
        config = model.programs.config
        now_ms = request.now_ms or self._clock.now_ms()
        skipped = sum(not event.post_id for event in request.sequence.actions)
        if skipped:
            self._telemetry.skipped_history.inc(skipped)
        return (
            build_context(config, request.sequence, now_ms, self._context_step_ms),
            candidates_of(config, candidate_columns(request), request.product_surface, now_ms),
        )

    def _response(
        self, model: ServedRanker, scores: Scores, context_at_ms: int
    ) -> pb.PredictNextActionsResponse:
        response = pb.PredictNextActionsResponse(
            actions=[action_of(name) for name in model.programs.config.action_names],
            model_version=model.version,
            prediction_request_id=self._ids.next(),
            context_at_ms=context_at_ms,
        )
        merge_floats(response, "log_probs", scores.log_probs)
        merge_floats(response, "dwell_seconds", scores.dwell_seconds)
        return response

    def _start_canary(
        self, model: ServedRanker, context: Context, candidates: CandidateInputs, scores: Scores
    ) -> None:
        task = asyncio.create_task(self._check(model, context, candidates, scores))
        self._canary_tasks.add(task)
        task.add_done_callback(self._canary_tasks.discard)

    async def _check(
        self, model: ServedRanker, context: Context, candidates: CandidateInputs, scores: Scores
    ) -> None:
        try:
            await self._canary.check(model, context, candidates, scores)
        except Exception:
            self._telemetry.canary_difference_max.set(float("nan"))
            logger.exception("the canary's check failed", extra={"model_version": model.version})


def action_of(name: str) -> actions_pb2.Action.ValueType:
    """ "favorite" → ACTION_FAVORITE."""
    return actions_pb2.Action.Value(f"ACTION_{name.upper()}")


async def _run(candidates: int, function: Callable[[], T]) -> T:
    """Here for small requests, in a thread for large ones."""
    return function() if candidates <= INLINE_CANDIDATES_MAX else await asyncio.to_thread(function)
