"""RetrievalService: the posts of the live corpus that are nearest to a viewer."""

import numpy as np
from numpy.typing import NDArray

from phoenix.index.search import SearchFilters, SearchRequest, SearchResult
from phoenix.serving.calls import Calls, NoModelError, NotFiniteError, RpcContext
from phoenix.serving.candidate_columns import retrieved_bytes
from phoenix.serving.context_cache import ContextCache
from phoenix.serving.follower import CorpusFollower, LiveRetrieval
from phoenix.serving.inputs import Context, build_context, check_retrieval
from phoenix.serving.limits import RETRIEVE_RESULTS_DEFAULT
from phoenix.serving.search_merger import SearchMerger
from phoenix.serving.telemetry import Telemetry
from phoenix.serving.worker import ModelWorker
from protos import phoenix_pb2 as pb
from protos import phoenix_pb2_grpc as pb_grpc
from service_kit.clock import Clock

Vector = NDArray[np.float32]


class RetrievalServicer(pb_grpc.RetrievalServiceServicer):
    """Answers from the follower's active pair of tower and index."""

    def __init__(
        self,
        follower: CorpusFollower,
        worker: ModelWorker,
        vectors: ContextCache[Vector],
        calls: Calls,
        telemetry: Telemetry,
        clock: Clock,
        *,
        context_step_ms: int,
    ) -> None:
        self._follower = follower
        self._worker = worker
        self._vectors = vectors
        self._calls = calls
        self._telemetry = telemetry
        self._clock = clock
        self._context_step_ms = context_step_ms
        self._searches = SearchMerger()

    async def Retrieve(  # noqa: N802 - the name that the proto gives
        self,
        request: pb.RetrieveRequest,
        context: RpcContext,
    ) -> pb.RetrieveResponse:
        return await self._calls.answer(
            "Retrieve", request, context, lambda _: self._retrieve(request)
        )

    async def _retrieve(self, request: pb.RetrieveRequest) -> pb.RetrieveResponse:
        check_retrieval(request)
        live = self._follower.active
        if live is None:
            raise NoModelError("no retrieval model is loaded yet: train one, or wait for it")
        context = self._context(live, request)  # a tenth of a millisecond: stays here
        vector = await self._worker.run(lambda: self._vector(live, context))
        if not np.isfinite(vector).all():
            self._telemetry.not_finite.labels("retrieval").inc()
            raise NotFiniteError(f"model {live.model.version} answered a vector that is not finite")
        wanted = request.max_results or RETRIEVE_RESULTS_DEFAULT
        filters = filters_of(request)  # a millisecond for thousands of ids at most
        found = await self._searches.search(live.index, SearchRequest(vector, wanted, filters))
        return _response(live, found)  # a tenth of a millisecond for a thousand

    def _context(self, live: LiveRetrieval, request: pb.RetrieveRequest) -> Context:
        now_ms = request.now_ms or self._clock.now_ms()
        config = live.model.programs.config
        return build_context(config, request.sequence, now_ms, self._context_step_ms)

    def _vector(self, live: LiveRetrieval, context: Context) -> Vector:
        """In the model's thread."""
        key = (live.model.version, context.digest)
        found = self._vectors.get(key)
        self._telemetry.context_cache.labels("retrieval", "miss" if found is None else "hit").inc()
        if found is None:
            found = live.model.user_vector(context.inputs)
            self._vectors.put(key, found)
        return found


def filters_of(request: pb.RetrieveRequest) -> SearchFilters:
    """What the request does not want to see."""
    posts = list(request.exclude_post_ids)
    if request.exclude_history:
        posts += [event.post_id for event in request.sequence.actions]
    authors = list(request.exclude_author_ids)
    if request.exclude_own:
        authors.append(request.sequence.user_id)
    return SearchFilters(
        request.posts_after_ms, np.array(posts, np.uint64), np.array(authors, np.uint64)
    )


def _response(live: LiveRetrieval, found: SearchResult) -> pb.RetrieveResponse:
    response = pb.RetrieveResponse(
        model_version=live.model.version,
        index_size=len(live.index),
    )
    response.MergeFromString(retrieved_bytes(found.post_ids, found.author_ids, found.scores))
    return response
