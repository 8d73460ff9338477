"""Lowers posts of accounts that the viewer does not follow.

o(c) = ``oon_weight_factor`` if in_network is no, or if it is yes, the post is a reply or a repost,
and ``enable_oon_rescore_for_in_network_replies_reposts`` is set; else, and if unknown, 1.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import Scorer
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import NO, YES
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.final_score import Reals, final_score


class OONScorer(Scorer[ScoredPostsQuery]):
    reads = frozenset(
        {
            "in_network",
            "in_reply_to_post_id",
            "reposted_post_id",
            "offset",
            "diversity",
            "scored_by_fallback",
            "score",
        }
    )
    writes = frozenset({"oon", "score"})

    def score(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, Reals]:
        params = query.params
        lowered = table["in_network"] == NO
        if params.enable_oon_rescore_for_in_network_replies_reposts:
            reply_or_repost = (table["in_reply_to_post_id"] != 0) | (table["reposted_post_id"] != 0)
            lowered |= (table["in_network"] == YES) & reply_or_repost
        oon = np.where(lowered, params.oon_weight_factor, 1.0)
        fallback = table["scored_by_fallback"]
        return {
            "oon": oon,
            "score": final_score(table["offset"], table["diversity"], oon, fallback),
        }
