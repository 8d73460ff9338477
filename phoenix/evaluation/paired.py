"""Standard errors over users, of one model's primary and of two models' difference.

A user's rows hang together, so users are drawn with replacement, not rows. All models get the same
draws: a difference has a smaller error than its parts, as both meet the same easy and hard users.

U users, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phoenix import metrics
from phoenix.metrics import Estimate

RESAMPLES = 1000

_Floats = NDArray[np.float64]


class UserParts(NamedTuple):
    """What each user [U] adds to the primary; its three sums give it."""

    wins: _Floats  # user's AUC times positives; 0 without both labels
    weights: _Floats  # positives; 0 without both labels
    ndcg: _Floats


class Comparison(NamedTuple):
    """A model's value, and how far it is above each other model."""

    value: Estimate
    above: dict[str, Estimate]


def compare_primary(
    users: ArrayLike, labels: ArrayLike, scores: Mapping[str, ArrayLike], seed: int = 0
) -> dict[str, Comparison]:
    """(GAUC + nDCG@5) / 2 of every model, and paired differences; nan where it is undefined."""
    parts = {name: user_parts(users, labels, values) for name, values in scores.items()}
    draws = _draws(len(np.unique(np.asarray(users))), seed)
    drawn = {name: _primary(part, draws) for name, part in parts.items()}
    whole = {name: float(_primary(part, np.ones((1, draws.shape[1])))[0])
             for name, part in parts.items()}  # fmt: skip
    return {
        name: Comparison(
            Estimate(whole[name], _spread(drawn[name])),
            {
                other: Estimate(whole[name] - whole[other], _spread(drawn[name] - drawn[other]))
                for other in scores
                if other != name
            },
        )
        for name in scores
    }


def user_parts(users: ArrayLike, labels: ArrayLike, scores: ArrayLike) -> UserParts:
    """Each user's share, users in ascending order."""
    wins, weights = metrics.gauc_by_user(users, labels, scores)
    return UserParts(wins, weights, metrics.ndcg_by_user(users, labels, scores, metrics.PRIMARY_K))


def log_loss_estimate(users: ArrayLike, labels: ArrayLike, probabilities: ArrayLike) -> Estimate:
    """Mean log loss with its standard error over users (clusters of rows)."""
    losses = metrics.log_losses(labels, probabilities)
    if len(losses) == 0:
        return Estimate(float("nan"), float("nan"))
    value = float(losses.mean())
    index = np.unique(np.asarray(users), return_inverse=True)[1]
    by_user = np.bincount(index, weights=losses - value)
    return Estimate(value, float(np.sqrt(np.square(by_user).sum()) / len(losses)))


def _draws(users: int, seed: int) -> _Floats:
    """How often each user was drawn, [R, U]."""
    rng = np.random.default_rng(seed)
    draws = np.zeros((RESAMPLES, users), dtype=np.float64)
    for row in draws:
        row += np.bincount(rng.integers(0, users, users), minlength=users)
    return draws


def _primary(parts: UserParts, draws: _Floats) -> _Floats:
    """[R], nan where no drawn user has both labels."""
    weights = draws @ parts.weights
    gauc = np.divide(
        draws @ parts.wins, weights, out=np.full(len(draws), np.nan), where=weights > 0
    )
    return np.asarray((gauc + draws @ parts.ndcg / draws.sum(axis=1)) / 2)


def _spread(values: _Floats) -> float:
    return float(np.std(values, ddof=1))
