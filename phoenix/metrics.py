"""Ranking and calibration metrics of binary outcomes; ties are handled exactly.

N rows, of which P positive; `groups` [N] are user ids. A metric that is undefined (one label only,
no user with both) is nan, never a made-up 0.5.

* AUC: probability that a positive scores above a negative, a tie counting one half (Mann–Whitney).
  Standard error after DeLong, DeLong & Clarke-Pearson 1988, from mid-ranks (Sun & Xu 2014).
* GAUC: mean of each user's AUC over users with both labels, weighted by the user's positives
  (KuaiRand's definition). Standard error: of a ratio of sums over independent users.
* nDCG@k: mean over users, binary gains, discount 1/log2(rank + 1); a user without positives counts
  as 0. Among equal scores every order is taken as equally likely and the expectation is returned.
* primary: (GAUC + nDCG@5) / 2.
* log loss: mean negative log-likelihood, probabilities kept within [1e-7, 1 − 1e-7].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIMARY_K = 5  # KuaiRand's primary takes nDCG at 5
PROBABILITY_FLOOR = 1e-7  # of log loss, so that one sure mistake costs 16 nats and not infinity

_Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """A metric with its standard error."""

    value: float
    stderr: float


def auc_estimate(labels: ArrayLike, scores: ArrayLike) -> Estimate:
    """AUC with DeLong's standard error; nan where a label (or a second row of it) is missing."""
    positive, values = _checked(labels, scores)
    count, negatives = int(positive.sum()), int((~positive).sum())
    if count == 0 or negatives == 0:
        return Estimate(float("nan"), float("nan"))
    everyone = np.zeros(len(values), dtype=np.int64)
    overall, own = _mid_ranks(everyone, values), _mid_ranks(positive.astype(np.int64), values)
    # For each positive: share of negatives below it; for each negative: of positives above it.
    above = (overall - own)[positive] / negatives
    below = 1.0 - (overall - own)[~positive] / count
    if count < 2 or negatives < 2:
        return Estimate(float(above.mean()), float("nan"))
    variance = above.var(ddof=1) / count + below.var(ddof=1) / negatives
    return Estimate(float(above.mean()), float(np.sqrt(variance)))


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    return auc_estimate(labels, scores).value


def auc_stderr(labels: ArrayLike, scores: ArrayLike) -> float:
    """DeLong's standard error of the AUC."""
    return auc_estimate(labels, scores).stderr


def gauc_estimate(groups: ArrayLike, labels: ArrayLike, scores: ArrayLike) -> Estimate:
    """GAUC over users with both labels, weighted by their positives; nan if there are none."""
    wins, weight = gauc_by_user(groups, labels, scores)
    both = weight > 0
    if not both.any():
        return Estimate(float("nan"), float("nan"))
    value = float(wins.sum() / weight.sum())
    spread = float(np.sqrt(np.square(wins - weight * value).sum()) / weight.sum())
    return Estimate(value, spread if both.sum() > 1 else float("nan"))


def gauc_by_user(
    groups: ArrayLike, labels: ArrayLike, scores: ArrayLike
) -> tuple[_Floats, _Floats]:
    """(AUC × positives, positives) of each user in ascending order; 0 where a label is missing.

    The sum of the first over the sum of the second is GAUC.
    """
    positive, values = _checked(labels, scores)
    index = _group_index(groups, len(values))
    positives = np.bincount(index, weights=positive)
    negatives = np.bincount(index, weights=~positive)
    rank_sum = np.bincount(index, weights=_mid_ranks(index, values) * positive)
    both = (positives > 0) & (negatives > 0)
    pairs_won = rank_sum - positives * (positives + 1) / 2
    wins = np.divide(pairs_won, negatives, out=np.zeros_like(rank_sum), where=both)
    return wins, np.where(both, positives, 0.0)


def gauc(groups: ArrayLike, labels: ArrayLike, scores: ArrayLike) -> float:
    return gauc_estimate(groups, labels, scores).value


def ndcg_at_k(groups: ArrayLike, labels: ArrayLike, scores: ArrayLike, k: int) -> float:
    """Mean nDCG@k over all users, those without positives counting 0; nan without rows."""
    by_user = ndcg_by_user(groups, labels, scores, k)
    return float(by_user.mean()) if len(by_user) else float("nan")


def ndcg_by_user(groups: ArrayLike, labels: ArrayLike, scores: ArrayLike, k: int) -> _Floats:
    """nDCG@k of each user in ascending order, 0 without positives."""
    positive, values = _checked(labels, scores)
    if len(values) == 0:
        return np.zeros(0)
    index = _group_index(groups, len(values))
    order = np.lexsort((-values, index))
    index, positive, values = index[order], positive[order], values[order]
    starts = np.searchsorted(index, np.arange(index[-1] + 1))
    rank = np.arange(len(index)) - starts[index]
    discount = np.where(rank < k, 1.0 / np.log2(rank + 2.0), 0.0)
    dcg = np.bincount(index, weights=discount * _tie_means(index, values, positive))
    positives = np.bincount(index, weights=positive).astype(np.int64)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    best = ideal[np.minimum(positives, k)]
    gained: _Floats = np.divide(dcg, best, out=np.zeros_like(dcg), where=best > 0)
    return gained


def primary(groups: ArrayLike, labels: ArrayLike, scores: ArrayLike) -> float:
    """KuaiRand's primary: (GAUC + nDCG@5) / 2."""
    return (gauc(groups, labels, scores) + ndcg_at_k(groups, labels, scores, PRIMARY_K)) / 2


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log-likelihood in nats; ValueError outside [0, 1], nan without rows."""
    losses = log_losses(labels, probabilities)
    return float(losses.mean()) if len(losses) else float("nan")


def log_losses(labels: ArrayLike, probabilities: ArrayLike) -> _Floats:
    """Negative log-likelihood [N] of each row in nats; ValueError outside [0, 1]."""
    positive, values = _checked(labels, probabilities)
    if len(values) and (values.min() < 0 or values.max() > 1):
        raise ValueError(
            f"log_loss needs probabilities in [0, 1], got {values.min()} to {values.max()}"
        )
    kept = np.clip(values, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return np.asarray(-np.where(positive, np.log(kept), np.log1p(-kept)))


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], _Floats]:
    given, values = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if given.shape != values.shape or given.ndim != 1:
        raise ValueError(f"labels {given.shape} and scores {values.shape} must be one row each")
    if not np.isin(given, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.sum(~np.isfinite(values))} scores are not finite")
    return given.astype(np.bool_), values


def _group_index(groups: ArrayLike, rows: int) -> NDArray[np.int64]:
    """Groups renumbered from 0."""
    given = np.asarray(groups)
    if given.shape != (rows,):
        raise ValueError(f"groups {given.shape} must have one entry for each of {rows} rows")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def _tie_blocks(index: NDArray[np.int64], values: _Floats) -> NDArray[np.int64]:
    """Number of the run of equal (group, value) of each row; rows are sorted by them."""
    new = np.ones(len(values), dtype=np.bool_)
    new[1:] = (np.diff(index) != 0) | (np.diff(values) != 0)
    return np.cumsum(new) - 1


def _tie_means(index: NDArray[np.int64], values: _Floats, of: NDArray[np.bool_]) -> _Floats:
    """Mean of `of` over each row's tie block; rows are sorted by group and value."""
    block = _tie_blocks(index, values)
    means: _Floats = np.bincount(block, weights=of) / np.bincount(block)
    return means[block]


def _mid_ranks(index: NDArray[np.int64], values: _Floats) -> _Floats:
    """Rank of each row within its group from 1, ties sharing their mean rank."""
    order = np.lexsort((values, index))
    sorted_index = index[order]
    starts = np.searchsorted(sorted_index, sorted_index)
    block = _tie_blocks(sorted_index, values[order])
    rank = np.arange(1, len(values) + 1) - starts
    mean_rank = np.bincount(block, weights=rank) / np.bincount(block)
    result = np.empty(len(values))
    result[order] = mean_rank[block]
    return result
