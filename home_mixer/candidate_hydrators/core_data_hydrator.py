"""Core data of each post: text, thread, repost, quote, media. A post without text is no error.

What the store knows replaces what a source said; what it does not know stays, with
``core_data_found`` no. So replies from retrieval have a thread too. When the store does not answer
at all, what it said of a post before still holds, and of all others ``core_data_found``
stays unknown: see CoreDataHydrationFilter.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.clients.protocols import PostBatch
from home_mixer.columns import NO, UNKNOWN, YES
from home_mixer.last_known import REASON_STALE
from home_mixer.query import ScoredPostsQuery

_COPIED = (
    "created_at_ms",
    "in_reply_to_post_id",
    "in_reply_to_user_id",
    "conversation_id",
    "reposted_post_id",
    "reposted_user_id",
    "text",
)


class CoreDataHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"post_id", *_COPIED} - {"text"})
    writes = frozenset({"quoted_post_id", "has_media", "core_data_found", *_COPIED})
    on_failure = FailurePolicy.FAIL_CLOSED

    def __init__(self, posts: SharedPostReads, budget_ms: float) -> None:
        self._posts = posts
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        batch = await self._posts.get_posts(query, table["post_id"])
        return _columns(table, batch, otherwise=NO)

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """What is known of posts that were read before."""
        batch = self._posts.last_known(table["post_id"])
        columns = _columns(table, batch, otherwise=UNKNOWN)
        if not batch.found.any():
            return columns
        raise Degraded(REASON_STALE, columns)


def _columns(table: CandidateTable, batch: PostBatch, otherwise: int) -> dict[str, AnyArray]:
    """``otherwise``: core_data_found of posts that the batch does not hold."""
    found = batch.found
    columns: dict[str, AnyArray] = {name: getattr(batch, name) for name in _COPIED}
    if not found.all():
        columns = {name: np.where(found, new, table[name]) for name, new in columns.items()}
    columns["quoted_post_id"] = batch.quoted_post_id
    columns["has_media"] = batch.has_media
    columns["core_data_found"] = np.where(found, YES, otherwise).astype(np.int8)
    return columns
