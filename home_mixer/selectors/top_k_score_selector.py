"""Ranks by score, best first; the best ``top_k`` go through the late stages.

NaN is last, equal scores are ordered by the larger (newer) post id. Deviation: the original
compares NaN as equal to everything, which leaves the order undefined.
"""

from __future__ import annotations

from candidate_pipeline.components import Selector
from candidate_pipeline.ranking import rank_descending
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.query import ScoredPostsQuery


class TopKScoreSelector(Selector[ScoredPostsQuery]):
    reads = frozenset({"score", "post_id"})

    def select(self, query: ScoredPostsQuery, table: CandidateTable) -> AnyArray:
        return rank_descending(table["score"], table["post_id"])

    def size_for(self, query: ScoredPostsQuery) -> int | None:
        return query.params.top_k
