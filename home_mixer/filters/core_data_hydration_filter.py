"""Removes posts that the post store does not know, or whose author is not known.

Deviation: a post without text is kept (it may be a photo or a repost), as the original does since
May; in January it lost media-only posts. "Unknown", the store did not answer, is kept too: thunder
knows the author, the failure is in ``degraded_reasons``, and an empty feed helps nobody.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import NO
from home_mixer.query import ScoredPostsQuery


class CoreDataHydrationFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({"author_id", "core_data_found"})

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = (table["author_id"] != 0) & (table["core_data_found"] != NO)
        return mask
