"""The peer: viewer, history and candidates as one masked sequence, in the original's shape.

Glossary: N = T + C tokens of the sequence, T context, C candidates, D width, H heads, K key size.

The mask forbids candidates to see each other; every layer still multiplies all N × N pairs. Plain
on purpose: `x @ w` in the given type, attention by `einsum`, softmax in float32. Tokens and
features are the ranker's own, and so are the positions: candidates share position 0.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from phoenix.attention import MASKED, soft_cap
from phoenix.config import RankerConfig
from phoenix.layers import rms_norm, rotate
from phoenix.ranker import context_positions

Array = jax.Array


def probabilities(
    config: RankerConfig, dense: Any, context: Array, seen: Array, shown: Array, features: Array,
    dtype: str,
) -> Array:  # fmt: skip
    """Tokens [T, D], which of them exist [T], candidates [C, D] and features [C, F] → [C, A]."""
    tokens, count = len(context), len(shown)
    hidden = jnp.concatenate([context, shown]).astype(dtype)
    positions = jnp.concatenate(
        [context_positions(tokens - 1, config.history_length), jnp.zeros(count)]
    )
    mask = sequence_mask(seen, count)
    for layer in range(config.layers):
        hidden = _block(config, dense[f"ranker/~/layer_{layer}"], hidden, positions, mask)
    head = dense["ranker"]
    read = rms_norm(hidden[tokens:], head["norm_final"])
    logits = _exact(read, head["head"]) + _exact(features, head["direct"]) + head["head_bias"]
    return jax.nn.sigmoid(logits[:, :-1])


def sequence_mask(seen: Array, count: int) -> Array:
    """[N, N] query by key: the context among itself, candidates the context and themselves."""
    tokens = len(seen)
    is_context = jnp.arange(tokens + count) < tokens
    exists = jnp.concatenate([seen, jnp.zeros(count, bool)])
    return (exists & is_context)[None, :] | jnp.eye(tokens + count, dtype=bool)


def _block(config: RankerConfig, p: Any, x: Array, positions: Array, mask: Array) -> Array:
    """[N, D] → [N, D]; a whole layer over the whole sequence."""
    normed = _norm(x, p["norm_attention_in"])
    query, key, value = (
        (_linear(normed, p[name])).reshape(len(x), -1, config.key_size)
        for name in ("query", "key", "value")
    )
    query, key = (rotate(v[None], positions)[0].astype(x.dtype) for v in (query, key))
    repeats = config.heads // config.kv_heads
    key, value = (jnp.repeat(v, repeats, axis=1) for v in (key, value))
    scores = jnp.einsum("nhk,mhk->hnm", query, key, precision=_precision(x))
    capped = soft_cap(scores.astype(jnp.float32) * config.key_size**-0.5)
    weights = jax.nn.softmax(jnp.where(mask[None], capped, MASKED), axis=-1).astype(x.dtype)
    mixed = jnp.einsum("hnm,mhk->nhk", weights, value, precision=_precision(x))
    x = x + _norm(_linear(mixed.reshape(len(x), -1), p["output"]), p["norm_attention_out"])
    normed = _norm(x, p["norm_ffn_in"])
    gated = jax.nn.gelu(_linear(normed, p["ffn_gate"])) * _linear(normed, p["ffn_value"])
    return x + _norm(_linear(gated, p["ffn_output"]), p["norm_ffn_out"])


def _linear(x: Array, weight: Array) -> Array:
    return jnp.dot(x, weight.astype(x.dtype), precision=_precision(x))


def _norm(x: Array, scale: Array) -> Array:
    return rms_norm(x, scale).astype(x.dtype)


def _exact(x: Array, weight: Array) -> Array:
    return jnp.dot(x.astype(jnp.float32), weight, precision=jax.lax.Precision.HIGHEST)


def _precision(x: Array) -> Any:
    is_float32 = x.dtype == jnp.float32
    return jax.lax.Precision.HIGHEST if is_float32 else jax.lax.Precision.DEFAULT
