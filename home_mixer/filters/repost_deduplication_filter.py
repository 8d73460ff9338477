"""One post once: of an original and its reposts the first in the list stays, whichever it is.

Deviation from January, which never removed an original that came after its repost; as in May.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.filters.related_ids import original_ids
from home_mixer.id_sets import first_rows
from home_mixer.query import ScoredPostsQuery


class RepostDeduplicationFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({"post_id", "reposted_post_id"})

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = first_rows(original_ids(table)) == np.arange(len(table))
        return mask
