"""Removes the viewer's own posts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.query import ScoredPostsQuery


class SelfpostFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({"author_id"})

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = table["author_id"] != np.uint64(query.viewer_id)
        return mask
