"""Removes posts for an author's subscribers, unless the viewer is one of them.

Deviation: reposts of such posts too; in the original a repost opens what its original closes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.id_sets import contains
from home_mixer.query import ScoredPostsQuery

_AUTHORS = ("subscription_author_id", "reposted_subscription_author_id")


class IneligibleSubscriptionFilter(Filter[ScoredPostsQuery]):
    reads = frozenset(_AUTHORS)
    on_failure = FailurePolicy.FAIL_CLOSED

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        mask = np.ones(len(table), np.bool_)
        for author in (table[name] for name in _AUTHORS):
            asked = author.nonzero()[0]  # few posts are for subscribers
            mask[asked] &= contains(query.subscribed_user_ids, author.take(asked))
        return mask
