"""Whose subscribers alone may see a post; 0 for a post that everybody may see.

Fails closed: while the store does not answer, a post that was never read counts as for its author's
subscribers alone. Of one that was read the paywall is known: it does not change.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.last_known import REASON_STALE
from home_mixer.query import ScoredPostsQuery


class SubscriptionHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"post_id", "author_id"})
    writes = frozenset({"subscription_author_id"})

    def __init__(self, posts: SharedPostReads, budget_ms: float, on_failure: FailurePolicy) -> None:
        self._posts = posts
        self.budget_ms = budget_ms
        self.on_failure = on_failure

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        batch = await self._posts.get_posts(query, table["post_id"])
        return {"subscription_author_id": batch.subscription_author_id}

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """Everything may be behind a subscription, but what is known not to be."""
        batch = self._posts.last_known(table["post_id"])
        paywalls = np.where(batch.found, batch.subscription_author_id, table["author_id"])
        if not batch.found.any():
            return {"subscription_author_id": paywalls}
        raise Degraded(REASON_STALE, {"subscription_author_id": paywalls})
