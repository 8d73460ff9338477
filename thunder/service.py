"""``foryou.thunder.v1.InNetworkPostsService``: admission, deadline, query, answer."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc
import grpc.aio

from protos import thunder_pb2
from service_kit.clock import Clock
from service_kit.loop_threads import LoopThreads
from service_kit.readiness import Readiness
from thunder.answers import authors_and_replies, encode_answer
from thunder.metrics import ThunderMetrics
from thunder.requests import BadRequestError, OtherShareError, check_share, parse_request
from thunder.shares import WHOLE, Share
from thunder.store import Found, PostStore, Query

logger = logging.getLogger(__name__)
SERVICE_NAME: Final = "foryou.thunder.v1.InNetworkPostsService"
ANSWER_RESERVE_S: Final = 0.005  # of the deadline, to encode and send what was found
Request = thunder_pb2.GetInNetworkPostsRequest
Context = grpc.aio.ServicerContext[Request, bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, its protobuf bytes, and how many authors and replies are among it."""

    found: Found
    message: bytes
    authors: int
    replies: int


class InNetworkPosts:
    """A place is taken per query and given back only when its thread is done, so cancelled calls
    cannot pile work up behind the bound. Answers leave as bytes that the query's thread wrote."""

    def __init__(
        self,
        store: PostStore,
        clock: Clock,
        metrics: ThunderMetrics,
        readiness: Readiness,
        *,
        share: Share = WHOLE,
        max_concurrent_requests: int,
        query_threads: int,
        request_timeout_ms: int,
        encode: Callable[[Found], bytes] = encode_answer,
    ) -> None:
        self._store = store
        self._encode = encode
        self._clock = clock
        self._metrics = metrics
        self._readiness = readiness
        self._share = share
        self._places_max = max_concurrent_requests
        self._places_taken = 0
        self._places_lock = threading.Lock()
        self._timeout_s = request_timeout_ms / 1000
        self._threads = LoopThreads(query_threads, "thunder-query")

    def add_to(self, server: grpc.aio.Server) -> None:
        """What the generated function does, but for a serializer: answers are bytes already."""
        handlers: dict[str, grpc.RpcMethodHandler[Request, bytes]] = {
            "GetInNetworkPosts": grpc.unary_unary_rpc_method_handler(
                self.GetInNetworkPosts, request_deserializer=Request.FromString
            )
        }
        generic = grpc.method_handlers_generic_handler(SERVICE_NAME, handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(SERVICE_NAME, handlers)

    def close(self) -> None:
        """Waits for running queries."""
        self._threads.close()

    async def GetInNetworkPosts(  # noqa: N802 - the name in the contract
        self, request: Request, context: Context
    ) -> bytes:
        kind = "videos" if request.is_video_request else "posts"
        started_s = self._clock.monotonic_s()
        if not self._readiness.serving(SERVICE_NAME):
            reason = self._readiness.state(SERVICE_NAME).reason
            await self._refuse(context, kind, grpc.StatusCode.UNAVAILABLE, reason)
        try:
            query = parse_request(request)
            check_share(request, self._share)
        except BadRequestError as error:
            await self._refuse(context, kind, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except OtherShareError as error:
            await self._refuse(context, kind, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        if not self._take_place():
            full = f"{self._places_max} queries are running already; retry after a moment"
            await self._refuse(context, kind, grpc.StatusCode.RESOURCE_EXHAUSTED, full)
        deadline_s = started_s + min(self._timeout_s, _remaining_s(context))
        until_s = deadline_s - ANSWER_RESERVE_S
        work = _Work(self._store, query, self._encode, self._clock, until_s)
        try:
            answer = await self._threads.run(partial(self._run, work))
        except asyncio.CancelledError:
            work.cancel()
            self._metrics.requests.labels(kind, "CANCELLED").inc()
            raise
        self._observe(kind, request, answer, self._clock.monotonic_s() - started_s)
        return answer.message

    async def _refuse(
        self, context: Context, kind: str, code: grpc.StatusCode, message: str
    ) -> None:
        self._metrics.requests.labels(kind, code.name).inc()
        await context.abort(code, message)

    def _take_place(self) -> bool:
        with self._places_lock:
            if self._places_taken >= self._places_max:
                return False
            self._places_taken += 1
            self._metrics.in_flight.set(self._places_taken)
            return True

    def _run(self, work: _Work) -> Answer:
        try:
            return work.run()
        finally:
            self._give_place_back()

    def _give_place_back(self) -> None:
        with self._places_lock:
            self._places_taken -= 1
            self._metrics.in_flight.set(self._places_taken)

    def _observe(self, kind: str, request: Request, answer: Answer, seconds: float) -> None:
        metrics, found = self._metrics, answer.found
        metrics.answered(kind, seconds)
        metrics.following.observe(len(request.following_user_ids))
        metrics.excluded.observe(len(request.exclude_post_ids))
        metrics.partial.inc(int(found.partial))
        metrics.returned.observe(found.posts.size)
        metrics.left_out(found.counts)
        if found.posts.size:
            self._observe_posts(answer)
        if request.debug:
            logger.info("query", extra={"posts": found.posts.size, **found.counts})

    def _observe_posts(self, answer: Answer) -> None:
        metrics, posts = self._metrics, answer.found.posts
        newest_ms, oldest_ms = int(posts[0]["created_at_ms"]), int(posts[-1]["created_at_ms"])
        metrics.returned_share.observe(posts.size / answer.found.counts["entries_seen"])
        metrics.freshness.observe((self._clock.now_ms() - newest_ms) / 1000)
        metrics.time_range.observe((newest_ms - oldest_ms) / 1000)
        metrics.reply_share.observe(answer.replies / posts.size)
        metrics.unique_authors.observe(answer.authors)


class _Work:
    """One query on a query thread; stops at its deadline or when the caller has gone."""

    def __init__(
        self,
        store: PostStore,
        query: Query,
        encode: Callable[[Found], bytes],
        clock: Clock,
        until_s: float,
    ) -> None:
        self._store = store
        self._query = query
        self._encode = encode
        self._clock = clock
        self._until_s = until_s
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def run(self) -> Answer:
        found = self._store.query(self._query, self._out_of_time)
        return Answer(found, self._encode(found), *authors_and_replies(found))

    def _out_of_time(self) -> bool:
        return self._cancelled or self._clock.monotonic_s() >= self._until_s


def _remaining_s(context: Context) -> float:
    remaining = context.time_remaining()
    return float("inf") if remaining is None else max(0.0, remaining)
