"""What past rates of an action say of a candidate: dense features straight to the logits.

Glossary: B batch, C candidates, A actions. Counts [..., 2A]: how often each action was taken, then
how often it could have been (its outcome is known).

    r(key) = (taken + K · base) / (known + K),   feature = logit(r) − logit(base)

beside ln(1 + known). A key without a past has features of zero, so an unknown post or viewer is
an average one. They are the independence baseline inside the model: with a weight of one each, the
sum is the naive Bayes of viewer, post, author and tags. Where counts come from:
`phoenix.data.rates`.
"""

from __future__ import annotations

from collections.abc import Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from phoenix.initialise import Constant

Array = jax.Array

SMOOTHING = 20.0  # K: views after which a key's own rate weighs as much as the base rate
LOG_KNOWN_SCALE = 0.1  # ln(1 + known) reaches 10; the other features are of the order of one
RATE_MIN = 1e-5  # a base rate is never below: its logit stays finite
CROSS_SMOOTHING = 3.0  # events of a viewer with one author, tag or duration: few, so less


def rate_features(counts: Sequence[Array], actions: int) -> Array:
    """Counts of several keys, each [B, C, 2A] → [B, C, keys · 2A]. Parameters: the base logits."""
    base_logits = hk.get_parameter("rates_base", (actions,), jnp.float32, Constant(0.0))
    base = jnp.clip(jax.nn.sigmoid(jax.lax.stop_gradient(base_logits)), RATE_MIN, 1 - RATE_MIN)
    parts = [_of_key(one, base, actions) for one in counts]
    return jnp.concatenate(parts, axis=-1)


def _of_key(counts: Array, base: Array, actions: int) -> Array:
    taken, known = counts[..., :actions], counts[..., actions:]
    rate = (taken + SMOOTHING * base) / (known + SMOOTHING)
    odds = jnp.log(rate) - jnp.log1p(-rate) - jnp.log(base) + jnp.log1p(-base)
    return jnp.concatenate([odds, LOG_KNOWN_SCALE * jnp.log1p(known)], axis=-1)


def affinity(same: Array, past: Array) -> Array:
    """What a viewer did on events like the candidate, against what they do: [B, C, X].

    `same` [B, C, S] is 1 where an event is like the candidate, `past` [B, S, X] what was done in
    each event, with a one among the X, by which events are counted: (s − n · S/N) / (n + K).
    """
    events = (jnp.abs(past).sum(axis=-1) > 0).astype(jnp.float32)  # [B, S]
    everything = past.sum(axis=1) / jnp.maximum(events.sum(axis=1), 1.0)[:, None]  # [B, X]
    precise = jax.lax.Precision.HIGHEST
    like = jnp.einsum("bcs,bsx->bcx", same, past, precision=precise)
    count = jnp.einsum("bcs,bs->bc", same, events, precision=precise)[..., None]
    return (like - count * everything[:, None, :]) / (count + CROSS_SMOOTHING)
