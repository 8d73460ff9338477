"""Lowers an author's second and later posts, so that nobody fills the feed.

    k(c) = number of better posts of the same author, by offset
    d(c) = (1 − floor) · decay^k + floor

Equal offsets: the larger post id is the better one. A repost counts for the reposter, as in the
original; ``author_diversity_by_original_author`` counts it for the author of the post instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Scorer
from candidate_pipeline.ranking import rank_descending
from candidate_pipeline.table import CandidateTable
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
    groups = distinct(keys)[1].take(best_first)
    if len(groups) <= np.iinfo(np.uint16).max:
        groups = groups.astype(np.uint16)  # a stable sort of so few values counts them
    by_group = np.argsort(groups, kind="stable")
    ordered = groups.take(by_group)
    place = np.arange(len(ordered))
    opens = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=opens[1:])
    ranks = np.empty(len(ordered), np.int64)
    ranks[best_first.take(by_group)] = place - np.maximum.accumulate(np.where(opens, place, 0))
    return ranks
