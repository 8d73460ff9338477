"""The two methods of ScoredPostsService: check, admit, run the pipeline in time, answer.

A request is answered before its caller's deadline with what there is by then. More than
``max_concurrent`` requests at once are refused at once, so that those under way stay in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import NoReturn, Protocol

import grpc
import grpc.aio

from candidate_pipeline.errors import PipelineFailed
from candidate_pipeline.pipeline import CandidatePipeline
from candidate_pipeline.result import PipelineResult
from home_mixer.deadline import request_deadline
from home_mixer.params import ParamsStore
from home_mixer.query import ScoredPostsQuery, validate
from home_mixer.scorers.phoenix_scorer import PhoenixScorer
from home_mixer.serving.explanations import explain_message
from home_mixer.serving.responses import response_message
from home_mixer.serving.telemetry import Telemetry
from protos import home_mixer_pb2 as pb
from protos import home_mixer_pb2_grpc
from service_kit.clock import Clock
from service_kit.logs import request_id as logged_request_id

logger = logging.getLogger(__name__)

# Kept of the caller's time for building the answer and its way back.
ANSWER_SHARE, ANSWER_S_MIN, ANSWER_S_MAX = 0.1, 0.005, 0.05

Context = grpc.aio.ServicerContext[pb.ScoredPostsQuery, object]


class RequestIds(Protocol):
    """Makes the id of a request."""

    def __call__(self, viewer_id: int) -> str:
        """Unique; ends with the viewer's id."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What the servicer runs: made once the stores are open."""

    pipeline: CandidatePipeline[ScoredPostsQuery]
    scorer: PhoenixScorer
    source_names: tuple[str, ...]


class ScoredPostsServicer(home_mixer_pb2_grpc.ScoredPostsServiceServicer):
    """`feed` returns None until the service has started."""

    def __init__(
        self,
        feed: Callable[[], Feed | None],
        params: ParamsStore,
        telemetry: Telemetry,
        clock: Clock,
        request_ids: RequestIds,
        *,
        max_concurrent: int,
        budget_ms: float,
    ) -> None:
        self._feed = feed
        self._params = params
        self._telemetry = telemetry
        self._clock = clock
        self._request_ids = request_ids
        self._max_concurrent = max_concurrent
        self._budget_ms = budget_ms
        self._running = 0

    async def GetScoredPosts(  # noqa: N802 - gRPC's name
        self, request: pb.ScoredPostsQuery, context: Context
    ) -> pb.ScoredPostsResponse:
        """One feed."""
        async with self._call("GetScoredPosts", context) as feed:
            result = await self._run(feed, request, context, explain=False)
            return response_message(result, _model_version(feed, result))

    async def ExplainScoredPosts(  # noqa: N802 - gRPC's name
        self, request: pb.ScoredPostsQuery, context: Context
    ) -> pb.ExplainResponse:
        """One feed with its ledger. It leaves no trace: nobody saw it, so nothing in it counts as
        served, and the same question again has the same answer."""
        async with self._call("ExplainScoredPosts", context) as feed:
            result = await self._run(feed, request, context, explain=True)
            response = response_message(result, _model_version(feed, result))
            return await asyncio.to_thread(explain_message, result, response, feed.source_names)

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[Feed]:
        """Admission, and the counters of one call whatever its end."""
        started_s = self._clock.monotonic_s()
        self._running += 1
        self._telemetry.in_flight.set(self._running)
        code = "OK"
        try:
            with self._telemetry.request_span(method, context.invocation_metadata()):
                yield await self._admitted(context)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED.name
            raise
        except grpc.aio.AbortError:
            code = _code_name(context)
            raise
        except Exception:
            code = grpc.StatusCode.UNKNOWN.name  # what gRPC makes of it
            logger.exception("a bug: the request failed", extra={"method": method})
            raise
        finally:
            self._running -= 1
            self._telemetry.in_flight.set(self._running)
            self._telemetry.requests.labels(method, code).inc()
            self._telemetry.seconds.labels(method).observe(self._clock.monotonic_s() - started_s)

    async def _admitted(self, context: Context) -> Feed:
        if self._running > self._max_concurrent:
            await _abort(
                context,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"at capacity: {self._max_concurrent} requests are being answered; retry later",
            )
        feed = self._feed()
        if feed is None:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "starting; retry soon")
        return feed

    async def _run(
        self, feed: Feed, request: pb.ScoredPostsQuery, context: Context, *, explain: bool
    ) -> PipelineResult[ScoredPostsQuery]:
        query = await self._checked(request, context)
        if explain:
            query = replace(query, leaves_traces=False)
        deadline_s = self._deadline_s(context)
        token = logged_request_id.set(query.request_id)
        try:
            with request_deadline(feed.pipeline.early_until_s(deadline_s)):
                return await feed.pipeline.execute(query, deadline_s=deadline_s, explain=explain)
        except PipelineFailed as error:
            logger.warning("request failed", extra={"failure": str(error)})
            await _abort(context, grpc.StatusCode.UNAVAILABLE, str(error))
        finally:
            logged_request_id.reset(token)

    async def _checked(self, request: pb.ScoredPostsQuery, context: Context) -> ScoredPostsQuery:
        try:
            return validate(
                request,
                request_id=self._request_ids(request.viewer_id),
                now_ms=self._clock.now_ms(),
                params=self._params.current,
            )
        except ValueError as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))

    def _deadline_s(self, context: Context) -> float:
        """When the pipeline must be done, on the event loop's clock."""
        waits_s = self._budget_ms / 1e3
        left_s = context.time_remaining()
        if left_s is not None:
            answer_s = min(max(ANSWER_SHARE * left_s, ANSWER_S_MIN), ANSWER_S_MAX)
            waits_s = min(waits_s, left_s - answer_s)
        return asyncio.get_running_loop().time() + waits_s


def _model_version(feed: Feed, result: PipelineResult[ScoredPostsQuery]) -> str:
    ids = result.selected["prediction_request_id"]
    return feed.scorer.model_version(int(ids[0])) if len(ids) else ""


def _code_name(context: Context) -> str:
    """The status with which the call was aborted."""
    code = context.code()  # a StatusCode or its number
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return next(known.name for known in grpc.StatusCode if known.value[0] == number)


async def _abort(context: Context, code: grpc.StatusCode, details: str) -> NoReturn:
    await context.abort(code, details)
    raise AssertionError("abort raises")
