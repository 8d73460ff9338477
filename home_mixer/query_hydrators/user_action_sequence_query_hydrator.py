"""The viewer's action sequence: newest actions, aggregated by window, last N events.

A viewer without actions has an empty sequence and a feed all the same; the original fails there.
"""

from __future__ import annotations

from candidate_pipeline.components import QueryHydrator
from home_mixer.clients.protocols import ActionSequenceStore
from home_mixer.query import ScoredPostsQuery
from home_mixer.query_hydrators.aggregation import aggregate

RAW_ACTIONS_MAX = 4096  # what the store keeps of a user; four a post for 1,024 posts


class UserActionSequenceQueryHydrator(QueryHydrator[ScoredPostsQuery]):
    writes = frozenset({"action_sequence"})

    def __init__(self, store: ActionSequenceStore, budget_ms: float) -> None:
        self._store = store
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery) -> dict[str, object]:
        params = query.params
        rows = await self._store.newest_actions(query.viewer_id, RAW_ACTIONS_MAX)
        sequence = aggregate(rows, params.user_action_window_ms)
        longest = max(params.scoring_sequence_length, params.retrieval_sequence_length)
        return {"action_sequence": sequence.last(longest)}
