"""mutual_follow: the viewer follows the author, and the author follows back."""

from __future__ import annotations

from candidate_pipeline.components import Hydrator
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.protocols import SocialGraphStore
from home_mixer.id_sets import contains, distinct
from home_mixer.query import ScoredPostsQuery


class MutualFollowHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"author_id"})
    writes = frozenset({"mutual_follow"})

    def __init__(self, store: SocialGraphStore, budget_ms: float) -> None:
        self._store = store
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        authors = table["author_id"]
        mutual = contains(query.followed_user_ids, authors)
        user_ids, rows = distinct(authors[mutual])
        if len(user_ids):
            follows = await self._store.follows_viewer(query.viewer_id, user_ids)
            mutual[mutual] = follows[rows]
        return {"mutual_follow": mutual}
