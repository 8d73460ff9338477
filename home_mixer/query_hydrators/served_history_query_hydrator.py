"""Posts that the viewer was served in the last minutes, so that a refresh brings others."""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import QueryHydrator
from home_mixer.clients.protocols import ServedHistoryStore
from home_mixer.query import ScoredPostsQuery


class ServedHistoryQueryHydrator(QueryHydrator[ScoredPostsQuery]):
    writes = frozenset({"served_history_ids"})

    def __init__(self, store: ServedHistoryStore, budget_ms: float) -> None:
        self._store = store
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery) -> dict[str, object]:
        params = query.params
        since_ms = query.now_ms - params.served_history_window_seconds * 1000
        limit = params.served_history_posts_max
        ids = await self._store.served_since(query.viewer_id, since_ms, limit)
        return {"served_history_ids": np.sort(ids)}
