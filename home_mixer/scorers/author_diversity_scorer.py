"""Lowers an author's second and later posts, so that nobody fills the feed.

    k(c) = number of better posts of the same author, by offset
    d(c) = (1 − floor) · decay^k + floor

Equal offsets: the larger post id is the better one. A repost counts for the reposter, as in the
original; ``author_diversity_by_original_author`` counts it for the author of the post instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Scorer
from candidate_pipeline.ranking import rank_descending
from candidate_pipeline.table import CandidateTable
from home_mixer.compiled import Int, kernel, read, written
from home_mixer.id_sets import distinct
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.final_score import FALLBACK_SHIFT, Reals, final_score


class AuthorDiversityScorer(Scorer[ScoredPostsQuery]):
    reads = frozenset(
        {"post_id", "author_id", "reposted_user_id", "offset", "oon", "scored_by_fallback", "score"}
    )
    writes = frozenset({"diversity", "score"})

    def enable(self, query: ScoredPostsQuery) -> bool:
        return query.params.enable_author_diversity

    def score(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, Reals]:
        params = query.params
        k = _ranks_within(_keys(table, params.author_diversity_by_original_author), table)
        floor = params.author_diversity_floor
        decay = np.float64(params.author_diversity_decay)
        powers = np.power(decay, np.arange(k.max(initial=0) + 1), dtype=np.float64)
        diversity: Reals = ((1.0 - floor) * powers + floor).take(k)
        fallback = table["scored_by_fallback"]
        score = final_score(table["offset"], diversity, table["oon"], fallback)
        return {"diversity": diversity, "score": score}


def _keys(table: CandidateTable, by_original_author: bool) -> NDArray[np.uint64]:
    authors: NDArray[np.uint64] = table["author_id"]
    if not by_original_author:
        return authors
    reposted = table["reposted_user_id"]
    return np.where(reposted != 0, reposted, authors)


def _ranks_within(keys: NDArray[np.uint64], table: CandidateTable) -> NDArray[np.int64]:
    """[N]: place of each row, from 0, among the rows of its key; unscored posts after scored."""
    fallback = table["scored_by_fallback"]
    base = table["offset"]
    if fallback.any():
        base = np.where(fallback, base - FALLBACK_SHIFT, base)
    best_first = rank_descending(base, table["post_id"])
    ranks = np.empty(len(keys), np.int64)
    _count_within(best_first, distinct(keys)[1], np.zeros(len(keys), np.int64), ranks)
    return ranks


@kernel(read(Int), read(Int), written(Int), written(Int))
def _count_within(order: Any, groups: Any, counts: Any, ranks: Any) -> None:
    """ranks [N]: how many rows of the same group come earlier in the order [N]. counts: zeros."""
    for row in order:
        ranks[row] = counts[groups[row]]
        counts[groups[row]] += 1
