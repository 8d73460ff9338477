"""Removes posts that were served to the viewer lately: earlier in the session, or by the history.

The relation is that of PreviouslySeenPostsFilter. On while ``enable_served_filter_all_requests``
is set, else for bottom requests (scrolling down) alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.filters.related_ids import RELATED_COLUMNS, related_ids
from home_mixer.id_sets import contains_any
from home_mixer.query import ScoredPostsQuery


class PreviouslyServedPostsFilter(Filter[ScoredPostsQuery]):
    reads = frozenset(RELATED_COLUMNS)

    def enable(self, query: ScoredPostsQuery) -> bool:
        return query.params.enable_served_filter_all_requests or query.is_bottom_request

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        served = [query.served_ids, query.served_history_ids]
        return ~contains_any(served, related_ids(table))
