"""A viewer's taste profile: a weighted sum of what they met, weighted by what they did with it.

    profile_m = u_m(viewer) + Σ_s w_m(actions, dwell of s) · item(post, author of s) / √(1 + events)

Glossary: B batch, S history, A actions, J hashes, E table width, M channels. A linear short path
beside the transformer: a bag of events is most of what a small model can learn in its first
minute. Parameters belong to the Haiku module that calls.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from phoenix.features import ContextInputs
from phoenix.layers import fan_in_matrix, matmul
from phoenix.tables import ContextRows
from phoenix.tokens import dwell_ratio, flat_hashes

Array = jax.Array


def event_facts(inputs: ContextInputs, dwell_scale_seconds: float) -> Array:
    """[B, S, A + 2]: the actions of each event, one, and its dwell ratio; zero where padded."""
    events = jnp.asarray(inputs.history_mask, jnp.float32)[..., None]
    dwell = dwell_ratio(jnp.asarray(inputs.history_dwell_seconds), dwell_scale_seconds)
    facts = [jnp.asarray(inputs.history_actions), jnp.ones_like(events), dwell[..., None]]
    return jnp.concatenate(facts, axis=-1) * events


def taste_profile(rows: ContextRows, facts: Array, mask: Array, channels: int) -> Array:
    """[B, M, E]; `facts` of `event_facts`, `mask` [B, S]."""
    items = item(rows.post, rows.author)
    weight = matmul(facts, fan_in_matrix("profile_past", facts.shape[-1], channels), "float32")
    count = mask.sum(axis=1).astype(jnp.float32)[:, None, None]
    pooled = sum_events((weight * mask[..., None]).swapaxes(1, 2), items) / jnp.sqrt(1.0 + count)
    user, width = flat_hashes(rows.user), items.shape[-1]
    own = matmul(user, fan_in_matrix("profile_user", user.shape[-1], channels * width), "float32")
    return pooled + own.reshape(-1, channels, width)


def item(post: Array, author: Array) -> Array:
    """Rows of a post [..., J, E] and its author → [..., E], one map for events and candidates."""
    both = jnp.concatenate([flat_hashes(post), flat_hashes(author)], axis=-1)
    return matmul(both, fan_in_matrix("profile_item", both.shape[-1], post.shape[-1]), "float32")


def sum_events(weights: Array, values: Array) -> Array:
    """[B, X, S] · [B, S, Y] → [B, X, Y], in full float32."""
    return jnp.einsum("bxs,bsy->bxy", weights, values, precision=jax.lax.Precision.HIGHEST)
