"""Attention of one layer's queries over a context, and of each candidate over itself besides.

Glossary: B batch, T context tokens, N queries of one viewer (context tokens or candidates), C
candidates, G key/value heads, R query heads that share one, H = G · R, K key size.

    w = exp(30 · tanh(q·k / √K / 30)),   mixed = Σ w v / Σ w

One viewer alone (serving) and a batch (training) are computed in two ways. For one viewer every
head is a product of two matrices: XLA's fast paths on CPU take no batch axes, and are four times
as fast without. A capped score needs no maximum taken off before its exponential, which is at most
e^30, and the division waits until the keys are summed over: [N, K] of them instead of [N, T].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array

SOFT_CAP = 30.0  # bounds attention scores; upstream, 2026-01
MASKED = -1e30  # score of a key that may not be seen; finite, so a softmax never yields NaN


class KeysValues(NamedTuple):
    """One layer's context: keys rotated by their distance to the candidates, and values."""

    keys: Array  # [B, T, G, K]
    values: Array  # [B, T, G, K]


def product(x: Array, y: Array, dtype: str) -> Array:
    """[N, I] · [I, O] → [N, O] float32, of operands in `dtype` with float32 sums.

    2-D operands and a float32 result: what XLA's fast bfloat16 path on CPU asks for.
    """
    return jax.lax.dot(
        x.astype(dtype),
        y.astype(dtype),
        precision=_precision(dtype),
        preferred_element_type=jnp.float32,
    )


def contract(equation: str, x: Array, y: Array, dtype: str) -> Array:
    """`einsum` of two operands in `dtype` with float32 sums."""
    return jnp.einsum(
        equation,
        x.astype(dtype),
        y.astype(dtype),
        precision=_precision(dtype),
        preferred_element_type=jnp.float32,
    )


def soft_cap(scores: Array) -> Array:
    return SOFT_CAP * jnp.tanh(scores / SOFT_CAP)


def attend_alone(
    query: Array, context: KeysValues, seen: Array, own: KeysValues | None, dtype: str
) -> Array:
    """One viewer's queries [1, N, H, K] over the context [1, T, G, K] → [1, N, H · K].

    `seen` [N or 1, T] says which keys; `own` [1, N, G, K] is what each query adds for itself.
    """
    heads = query.shape[2]
    repeats = heads // context.keys.shape[2]
    mixed = [
        _one_head(
            query[0, :, head],
            KeysValues(*(x[0, :, head // repeats] for x in context)),
            seen,
            None if own is None else KeysValues(*(x[0, :, head // repeats] for x in own)),
            dtype,
        )
        for head in range(heads)
    ]
    return jnp.concatenate(mixed, axis=-1)[None]


def _one_head(
    query: Array, context: KeysValues, seen: Array, own: KeysValues | None, dtype: str
) -> Array:
    """Query [N, K] over keys and values [T, K], and over its own [N, K] → [N, K]."""
    size = query.shape[-1]
    weights = _exponential(product(query, context.keys.T, dtype), size) * seen
    ones = jnp.ones_like(context.values[:, :1])  # the sum of the weights comes with their product
    mixed = product(weights, jnp.concatenate([context.values, ones], axis=-1), dtype)
    above, below = mixed[:, :size], mixed[:, size:]
    if own is not None:
        rounded = [x.astype(dtype).astype(jnp.float32) for x in (query, own.keys)]
        weight = _exponential((rounded[0] * rounded[1]).sum(axis=-1, keepdims=True), size)
        above, below = above + weight * own.values, below + weight
    return above / below


def attend(
    query: Array, context: KeysValues, mask: Array, *, dtype: str, capped: bool, drop: Any = None
) -> Array:
    """Query [B, N, H, K] over the context under mask [B, N, T] → [B, N, H · K].

    Heads are folded into the batch axis: on CPU that is 2.5 times as fast as five axes.
    """
    batch, length, heads, size = query.shape
    groups = context.keys.shape[2]
    grouped = jnp.moveaxis(query.reshape(batch, length, groups, -1, size), 1, 3)
    folded = grouped.reshape(batch * groups, -1, size)  # [B G, R N, K]
    keys, values = (_fold_heads(x) for x in context)  # [B G, T, K]
    scores = contract("bqk,bsk->bqs", folded, keys, dtype)
    by_head = scores.reshape(batch, heads, length, -1)
    weights = softmax(by_head, mask[:, None], size, capped=capped)
    weights = weights if drop is None else drop("attention", weights)
    mixed = contract("bqs,bsk->bqk", weights.reshape(scores.shape), values, dtype)
    return jnp.moveaxis(mixed.reshape(grouped.shape), 3, 1).reshape(batch, length, -1)


def attend_with_own(
    query: Array, context: KeysValues, seen: Array, own: KeysValues, *, dtype: str, capped: bool
) -> Array:
    """Candidates' queries [B, C, H, K] over what is `seen` [B, T] and their own → [B, C, H · K]."""
    batch, count, _, size = query.shape
    grouped = query.reshape(batch, count, own.keys.shape[2], -1, size)  # [B, C, G, R, K]
    to_context = contract("bcgrk,btgk->bgrct", grouped, context.keys, dtype)
    to_self = contract("bcgrk,bcgk->bgrc", grouped, own.keys, dtype)[..., None]
    allowed = jnp.broadcast_to(seen[:, None, None, None, :], to_context.shape)
    mask = jnp.concatenate([allowed, jnp.ones_like(to_self, bool)], axis=-1)
    scores = jnp.concatenate([to_context, to_self], axis=-1)
    weights = softmax(scores, mask, size, capped=capped)
    mixed = contract("bgrct,btgk->bcgrk", weights[..., :-1], context.values, dtype)
    self_weight = jnp.moveaxis(weights[..., -1], -1, 1)[..., None]  # [B, C, G, R, 1]
    return (mixed + self_weight * own.values[:, :, :, None, :]).reshape(batch, count, -1)


def softmax(scores: Array, mask: Array, key_size: int, *, capped: bool) -> Array:
    """Weights [..., T] of dot products; a query that may see nothing weighs all alike."""
    scaled = scores * key_size**-0.5
    scaled = soft_cap(scaled) if capped else scaled
    return jax.nn.softmax(jnp.where(mask, scaled, MASKED), axis=-1)


def _exponential(scores: Array, key_size: int) -> Array:
    return jnp.exp(soft_cap(scores * key_size**-0.5))


def _fold_heads(x: Array) -> Array:
    """[B, T, G, K] → [B · G, T, K]."""
    return jnp.moveaxis(x, 2, 1).reshape(-1, x.shape[1], x.shape[3])


def _precision(dtype: str) -> Any:
    """Full float32 where float32 was asked for (accelerators default to less)."""
    return jax.lax.Precision.HIGHEST if dtype == "float32" else jax.lax.Precision.DEFAULT
