"""Remembers the viewer's last request: its id, its parameters' hash and the posts served.

As in the original, requests for the followed accounts alone are not remembered.
"""

from __future__ import annotations

from candidate_pipeline.components import SideEffect
from candidate_pipeline.result import PipelineResult
from home_mixer.clients.protocols import RequestCache, RequestInfo
from home_mixer.query import ScoredPostsQuery


class RequestInfoCacheSideEffect(SideEffect[ScoredPostsQuery]):
    def __init__(self, cache: RequestCache, budget_ms: float) -> None:
        self._cache = cache
        self.budget_ms = budget_ms

    def enable(self, query: ScoredPostsQuery) -> bool:
        return query.leaves_traces and not query.in_network_only

    async def run(self, query: ScoredPostsQuery, result: PipelineResult[ScoredPostsQuery]) -> None:
        info = RequestInfo(
            request_id=query.request_id,
            served_at_ms=query.now_ms,
            params_hash=query.params.params_hash,
            post_ids=result.selected["post_id"],
        )
        await self._cache.put_request(query.viewer_id, info)
