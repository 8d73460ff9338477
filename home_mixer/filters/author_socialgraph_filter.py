"""Removes what muted, blocked or blocking accounts wrote, also where others repost or quote it.

Deviation: the original looks at the author alone (January), later also at blocked quoted and
reposted authors; muted ones still come back through reposts and quotes there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.id_sets import contains_any
from home_mixer.query import ScoredPostsQuery

_AUTHORS = ("author_id", "reposted_user_id", "quoted_author_id")


class AuthorSocialgraphFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({*_AUTHORS, "author_blocks_viewer"})
    on_failure = FailurePolicy.FAIL_CLOSED

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        unwanted = [query.blocked_user_ids, query.muted_user_ids]
        removed = contains_any(unwanted, [table[name] for name in _AUTHORS])
        mask: NDArray[np.bool_] = ~(removed | table["author_blocks_viewer"])
        return mask
