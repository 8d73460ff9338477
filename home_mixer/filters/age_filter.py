"""Removes posts older than ``max_post_age_seconds``, by their id, which grows with time.

Exactly as old is kept. An id that carries no time is removed: its age cannot be told.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.query import ScoredPostsQuery
from service_kit.snowflake import ID_MAX, oldest_id_since


class AgeFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({"post_id"})

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        post_ids = table["post_id"]
        oldest_ms = query.now_ms - query.params.max_post_age_seconds * 1_000
        mask: NDArray[np.bool_] = (post_ids >= oldest_id_since(oldest_ms)) & (post_ids <= ID_MAX)
        return mask
