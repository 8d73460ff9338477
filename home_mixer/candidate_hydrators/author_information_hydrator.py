"""Name, verification and followers of the author, and the name of a repost's original author.

It runs after the core data, which says who that is. In the original both run side by side, and
the reposted name is never filled.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import Hydrator
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.protocols import ProfileStore
from home_mixer.columns import UNKNOWN
from home_mixer.id_sets import distinct
from home_mixer.query import ScoredPostsQuery


class AuthorInformationHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"author_id", "reposted_user_id"})
    writes = frozenset(
        {
            "author_screen_name",
            "author_verified",
            "author_followers_count",
            "reposted_screen_name",
        }
    )

    def __init__(self, store: ProfileStore, budget_ms: float) -> None:
        self._store = store
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        both = np.concatenate([table["author_id"], table["reposted_user_id"]])
        user_ids, rows = distinct(both)
        batch = await self._store.get_profiles(user_ids)
        author, reposted = rows[: len(table)], rows[len(table) :]
        followers = np.where(batch.found, batch.followers_count, UNKNOWN)
        return {
            "author_screen_name": batch.screen_name[author],
            "author_verified": batch.verified[author],
            "author_followers_count": followers[author],
            "reposted_screen_name": batch.screen_name[reposted],
        }
