"""Removes posts for an author's subscribers, unless the viewer is one of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.id_sets import contains
from home_mixer.query import ScoredPostsQuery


class IneligibleSubscriptionFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({"subscription_author_id"})
    on_failure = FailurePolicy.FAIL_CLOSED

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        author = table["subscription_author_id"]
        mask: NDArray[np.bool_] = (author == 0) | contains(query.subscribed_user_ids, author)
        return mask
