"""Ranks over the whole catalogue, the measures on them, and each user's best items.

Glossary: U users, V items (column 0 of scores is padding), M targets of a user.

    rank(target)  items that score higher + half of the others that score the same, from 0
    HR@k          share of targets with rank < k
    NDCG@k        mean over targets of 1 / log2(rank + 2) where rank < k, else 0
    Recall@k      per user with targets: share of them with rank < k; the mean over users
    set NDCG@k    per user with targets: Σ 1 / log2(rank + 2) over targets with rank < k, by that
                  of the best order, Σ_{r < min(k, M)} 1 / log2(r + 2); the mean over users

Items that the user took before are left out of the ranking; a target among them is a miss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix.sequential.interactions import Items, Sequences

Scores = NDArray[np.float32]
Ranks = NDArray[np.float64]
# Histories of some users, oldest first → [users, V + 1] scores.
Scorer = Callable[[list[Items]], Scores]

ROWS = 256  # users that are scored at a time
TOP_ITEMS = 200  # of each user, in a file of predictions


@dataclass(frozen=True, slots=True)
class Ranking:
    """Ranks of all targets and, where asked for, the best items of every user."""

    ranks: Ranks  # [targets], in the order of `targets.items`; infinite: a miss at any k
    users: NDArray[np.int64]  # [targets]
    top_items: Items  # [U, k] in order; 0 fills up where a user has fewer
    top_scores: Scores  # [U, k]


def rank(scorer: Scorer, histories: Sequences, targets: Sequences, top: int = 0) -> Ranking:
    """Score every user that has targets (with `top`: every user) and rank.

    Histories are what the scorer reads and what is left out of the ranking. ValueError: a scorer
    gave NaN.
    """
    chosen = np.arange(len(targets)) if top else np.flatnonzero(targets.lengths)
    chosen = chosen[np.argsort(histories.lengths[chosen], kind="stable")]
    ranks = np.full(len(targets.items), np.inf)
    top_items = np.zeros((len(targets), top), np.int32)
    top_scores = np.full((len(targets), top), -np.inf, np.float32)
    for start in range(0, len(chosen), ROWS):
        users = chosen[start : start + ROWS]
        scores = _open_scores(scorer, [histories[user] for user in users])
        _put_ranks(ranks, scores, targets, users)
        if top:
            top_items[users], top_scores[users] = best_items(scores, top)
    owners = np.repeat(np.arange(len(targets)), targets.lengths)
    return Ranking(ranks, owners, top_items, top_scores)


def hit_metrics(ranks: Ranks, cuts: tuple[int, ...]) -> dict[str, float]:
    """{"HR@k": …, "NDCG@k": …} of users with one target each."""
    gain = 1.0 / np.log2(ranks + 2.0)
    metrics = {}
    for cut in cuts:
        metrics[f"HR@{cut}"] = float((ranks < cut).mean())
        metrics[f"NDCG@{cut}"] = float(np.where(ranks < cut, gain, 0.0).mean())
    return metrics


def set_metrics(ranking: Ranking, cuts: tuple[int, ...]) -> dict[str, float]:
    """{"Recall@k": …, "NDCG@k": …}, means over users with targets."""
    users, counts = np.unique(ranking.users, return_counts=True)
    row = np.searchsorted(users, ranking.users)
    metrics = {}
    for cut in cuts:
        hit = ranking.ranks < cut
        gain = np.where(hit, 1.0 / np.log2(ranking.ranks + 2.0), 0.0)
        best = np.cumsum(1.0 / np.log2(np.arange(cut) + 2.0))[np.minimum(counts, cut) - 1]
        metrics[f"Recall@{cut}"] = float((np.bincount(row, hit) / counts).mean())
        metrics[f"NDCG@{cut}"] = float((np.bincount(row, gain) / best).mean())
    return metrics


def best_items(scores: Scores, top: int) -> tuple[Items, Scores]:
    """[B, V + 1] → items and scores [B, top], best first; equal scores by the item's number."""
    width = min(top, scores.shape[1])
    found = np.argpartition(-scores, width - 1, axis=1)[:, :width]
    value = np.take_along_axis(scores, found, axis=1)
    order = np.lexsort((found, -value), axis=1)
    found = np.take_along_axis(found, order, axis=1)
    value = np.take_along_axis(value, order, axis=1)
    gap = ((0, 0), (0, top - width))
    items = np.where(np.isfinite(value), found, 0).astype(np.int32)
    return np.pad(items, gap), np.pad(value, gap, constant_values=-np.inf)


def _open_scores(scorer: Scorer, histories: list[Items]) -> Scores:
    """Scores with padding and what was taken before at -inf."""
    scores = np.array(scorer(histories), np.float32)
    if np.isnan(scores).any():
        raise ValueError("a score is NaN: the training diverged; lower learning_rate")
    scores[:, 0] = -np.inf
    for row, history in zip(scores, histories, strict=True):
        row[history] = -np.inf
    return scores


def _put_ranks(ranks: Ranks, scores: Scores, targets: Sequences, users: NDArray[np.int64]) -> None:
    for row, user in zip(scores, users.tolist(), strict=True):
        begin, end = targets.offsets[user], targets.offsets[user + 1]
        for place in range(begin, end):
            score = row[targets.items[place]]
            if score > -np.inf:
                same = np.count_nonzero(row == score) - 1
                ranks[place] = np.count_nonzero(row > score) + 0.5 * same
