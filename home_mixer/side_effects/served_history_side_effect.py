"""Remembers what was served, so that the next requests bring other posts.

Of a repost the original is remembered too: it is the content that was seen.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import SideEffect
from candidate_pipeline.result import PipelineResult
from home_mixer.clients.protocols import ServedHistoryStore
from home_mixer.query import ScoredPostsQuery, sorted_ids


class ServedHistorySideEffect(SideEffect[ScoredPostsQuery]):
    def __init__(self, store: ServedHistoryStore, budget_ms: float) -> None:
        self._store = store
        self.budget_ms = budget_ms

    def enable(self, query: ScoredPostsQuery) -> bool:
        return query.leaves_traces

    async def run(self, query: ScoredPostsQuery, result: PipelineResult[ScoredPostsQuery]) -> None:
        served = result.selected
        if len(served) == 0:
            return
        ids = sorted_ids(np.concatenate([served["post_id"], served["reposted_post_id"]]))
        await self._store.add_served(query.viewer_id, ids, query.now_ms)
