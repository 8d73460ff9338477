"""Name, verification and followers of the author, and the name of a repost's original author.

It runs after the core data, which says who that is. In the original both run side by side, and
the reposted name is never filled.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import Hydrator
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.columns import empty_texts
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
        reposting = table["reposted_user_id"].nonzero()[0]
        reposted = table["reposted_user_id"].take(reposting)
        user_ids, rows = distinct(np.concatenate([table["author_id"], reposted]))
        batch = await self._store.get_profiles(user_ids)
        author = rows[: len(table)]
        followers = np.where(batch.found, batch.followers_count, UNKNOWN)
        reposted_names = empty_texts(len(table))
        reposted_names[reposting] = batch.screen_name.take(rows[len(table) :])
        return {
            "author_screen_name": batch.screen_name.take(author),
            "author_verified": batch.verified.take(author),
            "author_followers_count": followers.take(author),
            "reposted_screen_name": reposted_names,
        }
