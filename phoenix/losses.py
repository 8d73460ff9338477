"""What training minimises.

Glossary: B batch, C candidates, A actions, G uniform negatives.

* Actions: sigmoid cross-entropy, summed over the actions, mean over the weighted candidates.
* Dwell: Huber on log1p of seconds, where the dwell is known; and, for the mean correction alone,
  Poisson deviance on seconds, whose optimum makes Σ predicted = Σ observed.
* Retrieval: softmax of the positive against the other examples' positives and uniform negatives,
  each logit less the log of how often its post is expected among the negatives (log-Q).

Source: the original's losses (2026-08); the mean correction is ours.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax.scipy.special import xlogy

from phoenix.ranker import RankerOutput

Array = jax.Array
Parts = dict[str, Array]

HUBER_DELTA = 1.0  # in log1p of seconds: a factor of e
CORRECTION_SCALE = 1.0 / 30.0  # seconds → the order of one, so that clipping treats all alike
SAME_POST = -1e9  # logit of a negative that is the positive itself


def ranker_loss(
    output: RankerOutput,
    labels: Array,
    dwell_seconds: Array,
    weight: Array,
    action_weights: Array,
    dwell_weight: float,
    labels_known: Array | None = None,
    listwise_weight: float = 0.0,
) -> tuple[Array, Parts]:
    """Labels [B, C, A], dwell [B, C] (NaN unknown), weight [B, C], action_weights [A].

    `labels_known` [B, C, A]: where it is False the action's head learns nothing from the row.
    """
    total = jnp.maximum(weight.sum(), 1e-6)
    told = jnp.ones_like(labels) if labels_known is None else labels_known.astype(jnp.float32)
    entropy = optax.sigmoid_binary_cross_entropy(output.logits, labels) * action_weights * told
    actions = (entropy.sum(axis=-1) * weight).sum() / total
    if listwise_weight:
        among = _listwise(output.logits, labels, told * weight[..., None])
        actions += listwise_weight * (among * action_weights).sum() / total
    known = jnp.isfinite(dwell_seconds)
    seconds = jnp.where(known, dwell_seconds, 0.0)
    known_weight = weight * known
    known_total = jnp.maximum(known_weight.sum(), 1e-6)
    error = optax.huber_loss(output.dwell_log, jnp.log1p(seconds), delta=HUBER_DELTA)
    dwell = (error * known_weight).sum() / known_total
    predicted = output.dwell_seconds
    poisson = predicted - seconds * jnp.log(predicted + 1e-6)
    poisson += xlogy(seconds, seconds) - seconds  # a constant: 0 where the prediction is right
    correction = CORRECTION_SCALE * (poisson * known_weight).sum() / known_total
    loss = actions + dwell_weight * dwell + correction
    return loss, {"actions": actions, "dwell": dwell}


def _listwise(logits: Array, labels: Array, weight: Array) -> Array:
    """[A]: −log softmax of each positive among the candidates of its context, summed.

    It looks at differences within a viewer alone, as GAUC does. Candidates of weight 0 are left
    out; a context without both labels of an action says nothing of it.
    """
    shown = (weight > 0).astype(jnp.float32)
    log_share = jax.nn.log_softmax(jnp.where(shown > 0, logits, SAME_POST), axis=1)
    positive = labels * shown
    both = (positive.sum(axis=1) > 0) & ((shown - positive).sum(axis=1) > 0)
    return -(positive * weight * jnp.where(positive > 0, log_share, 0.0) * both[:, None]).sum(
        axis=(0, 1)
    )


def retrieval_loss(
    users: Array,
    positives: Array,
    negatives: Array,
    scale: Array,
    positive_ids: Array,
    negative_ids: Array,
    positive_log_q: Array,
    negative_log_q: Array,
    weight: Array,
) -> tuple[Array, Parts]:
    """Unit vectors [B, O], [B, O], [G, O]; ids and log-probabilities [B], [G]; weight [B].

    Ids only mark equal posts: any integers that differ where posts do.
    """
    batch, drawn = positives.shape[0], negatives.shape[0]
    # Expected number of times that a post is among the negatives: draws · probability of a draw.
    in_batch = scale * users @ positives.T - positive_log_q - jnp.log(float(batch))
    uniform = scale * users @ negatives.T - negative_log_q - jnp.log(float(max(drawn, 1)))
    own = jnp.eye(batch, dtype=bool)
    same = (positive_ids[:, None] == positive_ids[None, :]) & ~own
    same_uniform = positive_ids[:, None] == negative_ids[None, :]
    logits = jnp.concatenate(
        [jnp.where(same, SAME_POST, in_batch), jnp.where(same_uniform, SAME_POST, uniform)], axis=1
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(batch))
    total = jnp.maximum(weight.sum(), 1e-6)
    hit = (logits.argmax(axis=1) == jnp.arange(batch)).astype(jnp.float32)
    return (losses * weight).sum() / total, {"recall_at_1": (hit * weight).sum() / total}
