"""Σ weight · head, made non-negative.

    s(c) = Σ_h w_h · p_h        over the 25 heads; a head that is NaN counts 0
    w_reply, w_dwell            get their boost when viewer and author follow each other and the
                                post is an original (neither reply nor repost)
    video_quality_view          counts only if video_duration_ms > min_video_duration_ms
    post_unexplored             counts only in network
    offset(s) = max(s, 0)             if W = 0
                (s + N) / W · ε       if s < 0
                s + ε                 otherwise

with N, W, ε of ``RankingParams``; so the order of s is kept and later multipliers, all ≥ 0, can
never lift a post by being applied to a negative number. Source: the original's published ranking
formula, 2026-10-07.

Deviation: a post without a single head is not given ε, as if a model had found nothing in it. It
is marked ``scored_by_fallback``, ``weighted`` is NaN, and ``offset`` holds the fallback
2^(−age / fallback_half_life_seconds), 0 where the age is unknown (see ``final_score``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Scorer
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import HEAD_COLUMNS, HEADS, YES
from home_mixer.params import RankingParams
from home_mixer.query import ScoredPostsQuery
from home_mixer.scorers.final_score import Reals, final_score
from service_kit.snowflake import timestamps_ms

_FACTS: Final = (
    "post_id",
    "in_network",
    "in_reply_to_post_id",
    "mutual_follow",
    "reposted_post_id",
    "video_duration_ms",
)

Term = tuple[Reals, float | Reals]


class WeightedScorer(Scorer[ScoredPostsQuery]):
    reads = frozenset({*HEAD_COLUMNS, *_FACTS, "diversity", "oon"})
    writes = frozenset({"weighted", "offset", "score", "scored_by_fallback"})

    def score(
        self, query: ScoredPostsQuery, table: CandidateTable
    ) -> dict[str, NDArray[np.generic]]:
        weighted = weighted_sums(table, query.params)
        offset = offset_scores(weighted, query.params)
        unscored = np.isnan(weighted)
        if unscored.any():
            offset = np.where(unscored, _recency(query, table), offset)
        return {
            "weighted": weighted,
            "offset": offset,
            "score": final_score(offset, table["diversity"], table["oon"], unscored),
            "scored_by_fallback": unscored,
        }


def weighted_sums(table: CandidateTable, params: RankingParams) -> Reals:
    """s [N], added head by head in the enum's order; NaN for a post without any head."""
    terms = [(table[column], weight) for column, weight in _weights(table, params)]
    total = _sums_of_known(terms, len(table))
    return total if total is not None else _sums(terms, len(table))


def _sums(terms: Sequence[Term], count: int) -> Reals:
    """Of (values [N], weight) of every head, any of which may be NaN."""
    total, scored = np.zeros(count), np.zeros(count, np.bool_)
    for values, weight in terms:
        known = np.isfinite(values)
        scored |= known
        if not _is_zero(weight):
            total += np.where(known, weight * values, 0.0)
    return np.where(scored, total, np.nan)


def _sums_of_known(terms: Sequence[Term], count: int) -> Reals | None:
    """The same sums where the model gave each head to all posts or to none, as most models do;
    None where it did not. One look at the sum tells, in place of one at each head."""
    total, term = np.zeros(count), np.empty(count)
    is_scored = False
    for values, weight in terms:
        if _is_zero(weight) or (count and values[0] != values[0] and np.isnan(values).all()):
            continue
        total += np.multiply(values, weight, out=term)
        is_scored = True
    return total if is_scored and np.isfinite(total).all() else None


def _is_zero(weight: float | Reals) -> bool:
    return isinstance(weight, float) and weight == 0.0


def score_terms(table: CandidateTable, params: RankingParams) -> dict[str, Reals]:
    """head → weight · value [N]; 0 where the head is not known. Their sum is ``weighted``."""
    terms = {}
    for head, (column, weight) in zip(HEADS, _weights(table, params), strict=True):
        values = table[column]
        terms[head] = np.where(np.isfinite(values), weight * values, 0.0)
    return terms


def effective_weights(table: CandidateTable, params: RankingParams) -> dict[str, Reals]:
    """head → the weight [N] that it has for each post, boosts and conditions included."""
    return {
        head: np.broadcast_to(np.asarray(weight, np.float64), len(table))
        for head, (_, weight) in zip(HEADS, _weights(table, params), strict=True)
    }


def offset_scores(weighted: Reals, params: RankingParams) -> Reals:
    """offset(s) [N]; NaN stays NaN."""
    if params.weights_sum == 0.0:
        return np.maximum(weighted, 0.0)
    epsilon = params.negative_scores_offset
    negative = (weighted + params.negative_weights_sum) / params.weights_sum * epsilon
    # s can reach −N, and rounding could carry it a hair below.
    return np.where(weighted < 0.0, np.maximum(negative, 0.0), weighted + epsilon)


def _weights(table: CandidateTable, params: RankingParams) -> Iterator[tuple[str, float | Reals]]:
    """(column, weight) of every head: a number, or [N] where it depends on the post."""
    conditional = _conditional_weights(table, params)
    for head, column in zip(HEADS, HEAD_COLUMNS, strict=True):
        yield column, conditional.get(head, params.weights[head])


def _conditional_weights(table: CandidateTable, params: RankingParams) -> dict[str, Reals]:
    original = (table["in_reply_to_post_id"] == 0) & (table["reposted_post_id"] == 0)
    boosted = original & table["mutual_follow"]
    long_video = table["video_duration_ms"] > params.min_video_duration_ms
    weights = params.weights
    return {
        "reply": weights["reply"] + params.mutual_follow_reply_boost * boosted,
        "dwell": weights["dwell"] + params.mutual_follow_dwell_boost * boosted,
        "video_quality_view": weights["video_quality_view"] * long_video,
        "post_unexplored": weights["post_unexplored"] * (table["in_network"] == YES),
    }


def _recency(query: ScoredPostsQuery, table: CandidateTable) -> Reals:
    """[N] in [0, 1]: 1 for a post of now, halved every half-life."""
    created_ms = timestamps_ms(table["post_id"])
    age_s = np.maximum(query.now_ms - created_ms, 0) / 1_000
    recency: Reals = np.exp2(-age_s / query.params.fallback_half_life_seconds)
    return np.where(created_ms >= 0, recency, 0.0)
