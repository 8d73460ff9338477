"""Losses over the catalogue: the full softmax, a sampled one, and gBCE.

Glossary: N user vectors, M targets of each (1 when causal), K negatives, V items, D width.

    full      log Σ_v exp(s_v) - s_y
    sampled   log(exp(s_y) + Σ_j exp(s_j - log E_j)) - s_y;  E_j: expected draws of item j, so that
              the sum is an unbiased estimate of that over all other items (Bengio & Senécal 2008;
              Yi et al. 2019 for draws from the batch)
    gbce      -β log σ(s_y) - Σ_j log(1 - σ(s_j)),  β = a (t (1 - 1/a) + 1/a), a = K / (V - 1)
              (Petrov & Macdonald 2023; here the negatives are shared by a batch)

A negative that is a target of the row is left out of its sums.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from phoenix.attention import MASKED
from phoenix.layers import matmul
from phoenix.sequential.config import SequentialTraining

Array = jax.Array


class Negatives(NamedTuple):
    """Items drawn for one batch."""

    items: NDArray[np.int32]  # [K]
    log_expected: NDArray[np.float32]  # [K], of how often each is drawn a batch


class Catalogue(NamedTuple):
    """What user vectors are multiplied with."""

    vectors: Array  # [V + 1, D]
    bias: Array  # [V + 1]


def mean_loss(
    users: Array,
    targets: Array,
    catalogue: Catalogue,
    negatives: Negatives,
    training: SequentialTraining,
    dtype: str,
) -> Array:
    """Users [N, D], targets [N, M] (0 is none) → the mean over targets."""
    weight = (targets > 0).astype(jnp.float32)
    # A product by rows: gathering from logits [N, V] would scatter [N, V] in the gradient.
    positive = jnp.sum(users[:, None] * catalogue.vectors[targets], axis=-1)
    positive = positive + catalogue.bias[targets]
    if training.loss == "full":
        losses = _full(users, positive, catalogue, training.label_smoothing, dtype)
    elif training.loss == "sampled":
        scores = _scores(users, targets, catalogue, negatives, training.log_q, dtype)
        others = jax.nn.logsumexp(scores, axis=-1)[:, None]
        losses = jnp.logaddexp(others, positive) - positive
    else:
        scores = _scores(users, targets, catalogue, negatives, False, dtype)
        sampled = negatives.items.shape[0] / (catalogue.vectors.shape[0] - 2)
        beta = gbce_beta(min(1.0, sampled), training.gbce_t)
        others = jax.nn.softplus(scores).sum(axis=-1)[:, None]
        losses = beta * jax.nn.softplus(-positive) + others
    return jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def gbce_beta(sampled_share: float, t: float) -> float:
    """β of gBCE for a share a of negatives that are sampled; 1 at t = 0, a at t = 1."""
    return sampled_share * (t * (1.0 - 1.0 / sampled_share) + 1.0 / sampled_share)


def _full(
    users: Array, positive: Array, catalogue: Catalogue, smoothing: float, dtype: str
) -> Array:
    logits = matmul(users, catalogue.vectors[1:].T, dtype) + catalogue.bias[1:]
    aim = positive
    if smoothing:
        mean = (users @ catalogue.vectors[1:].mean(axis=0) + catalogue.bias[1:].mean())[:, None]
        aim = (1.0 - smoothing) * positive + smoothing * mean
    return jax.nn.logsumexp(logits, axis=-1)[:, None] - aim


def _scores(
    users: Array,
    targets: Array,
    catalogue: Catalogue,
    negatives: Negatives,
    log_q: bool,
    dtype: str,
) -> Array:
    """→ [N, K] scores of the negatives, corrected on request; a row's targets are masked."""
    items = jnp.asarray(negatives.items)
    scores = matmul(users, catalogue.vectors[items].T, dtype) + catalogue.bias[items]
    if log_q:
        scores = scores - negatives.log_expected
    hit = (targets[:, :, None] == items[None, None]).any(axis=1)
    return jnp.where(hit, MASKED, scores)
