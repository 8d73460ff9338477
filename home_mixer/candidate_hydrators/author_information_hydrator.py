"""Name, verification and followers of the author, and the name of a repost's original author.

It runs after the core data, which says who that is. In the original both run side by side, and
the reposted name is never filled.

A feed's names are read late, of the posts that may be shown: nothing before needs them, and they
are a hundredth of the candidates. An explanation names the authors of all: there it runs early.
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

    def __init__(self, store: ProfileStore, budget_ms: float, *, explained: bool = False) -> None:
        """``explained``: the one for explanations; the other is for feeds."""
        self._store = store
        self.budget_ms = budget_ms
        self._explained = explained

    @property
    def name(self) -> str:
        name = type(self).__name__
        return f"Explained{name}" if self._explained else name

    def enable(self, query: ScoredPostsQuery) -> bool:
        return query.leaves_traces != self._explained

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
