"""Length of a post's first video in milliseconds; 0 for none, or for not known in an outage."""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.last_known import REASON_STALE
from home_mixer.query import ScoredPostsQuery


class VideoDurationHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"post_id"})
    writes = frozenset({"video_duration_ms"})
    on_failure = FailurePolicy.FAIL_CLOSED

    def __init__(self, posts: SharedPostReads, budget_ms: float) -> None:
        self._posts = posts
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        batch = await self._posts.get_posts(query, table["post_id"])
        return {"video_duration_ms": batch.video_duration_ms.astype(np.int64)}

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """Of posts that were read before; a video's length does not change."""
        batch = self._posts.last_known(table["post_id"])
        columns = {"video_duration_ms": batch.video_duration_ms.astype(np.int64)}
        if not batch.found.any():
            return columns
        raise Degraded(REASON_STALE, columns)
