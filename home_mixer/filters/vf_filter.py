"""Late: removes deleted and unsafe posts, by the verdict that the visibility hydrator gave.

``drop`` is removed, ``allow`` and ``interstitial`` pass (the reason travels with the post).
Deviation: a post whose verdict is not known is removed while ``enable_fail_closed_visibility`` is
set; the original shows it. What label means what: ``home_mixer.visibility_rules``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import VISIBILITY_DROP, VISIBILITY_UNKNOWN
from home_mixer.query import ScoredPostsQuery


class VFFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({"visibility_action"})
    on_failure = FailurePolicy.FAIL_CLOSED

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        action = table["visibility_action"]
        removed = action == VISIBILITY_DROP
        if query.params.enable_fail_closed_visibility:
            removed |= action == VISIBILITY_UNKNOWN
        mask: NDArray[np.bool_] = ~removed
        return mask
