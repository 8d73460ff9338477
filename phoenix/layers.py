"""Grok-1's transformer block, as pure functions and one Haiku module.

Glossary: B batch, T context tokens (viewer + history), C candidates, D width, H query heads, G
key/value heads, R = H / G, K key size. Residual stream float32; matrix operands in the
configured type with float32 sums.

    h ← h + N2(attention(N1(h)));  h ← h + N4(ffn(N3(h)))          (sandwich norm)
    N(x) = scale · x / rms(x),  attention scores = 30 · tanh(q·k / √K / 30),  softmax in float32
    ffn(x) = (gelu(x W_gate) ⊙ x W_value) W_out

`BlockStyle` turns off what the original has and others do without: the norms behind each half
(N2, N4), the soft cap, the rotation.

Source: the original's `phoenix/grok.py` (2026-01) by its behaviour. Deviation: its matrices and
norm scales start at 0, which leaves every parameter of the block without gradient for ever
(weakness P2); here matrices start at fan-in variance and scales at 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import haiku as hk
import jax
import jax.numpy as jnp

from phoenix.attention import (
    KeysValues,
    OwnKeysValues,
    attend,
    attend_alone,
    attend_with_own,
    kept,
    product,
)
from phoenix.initialise import Constant, Normal

Array = jax.Array

RMS_EPSILON = 1e-5  # upstream, 2026-01
ROPE_BASE = 10_000.0  # upstream, 2026-01
FFN_MULTIPLE = 8  # feed-forward widths are rounded up to it; upstream, 2026-01


def rms_norm(x: Array, scale: Array) -> Array:
    """[..., D] → [..., D], in float32."""
    x = x.astype(jnp.float32)
    mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
    return scale * x * jax.lax.rsqrt(mean_square + RMS_EPSILON)


def unit_norm(x: Array) -> Array:
    """[..., D] → unit vectors; a zero vector stays zero. v / √max(Σv², 1e-12)."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))


def matmul(x: Array, weight: Array, dtype: str) -> Array:
    """[..., I] · [I, O] → [..., O] float32; leading axes are flattened (see `product`)."""
    flat = product(x.reshape(-1, x.shape[-1]), weight, dtype)
    return flat.reshape(*x.shape[:-1], weight.shape[-1])


def rotate(x: Array, positions: Array) -> Array:
    """Rotary embedding of x [B, T, heads, K] at positions [T]; pairs are (i, i + K/2)."""
    half = x.shape[-1] // 2
    frequency = ROPE_BASE ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions.astype(jnp.float32)[:, None] * frequency
    cos, sin = jnp.cos(angle)[:, None, :], jnp.sin(angle)[:, None, :]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def ffn_width(width: int, widening: float) -> int:
    """Two thirds of the widened size, for the gate, rounded up to a multiple of 8."""
    size = int(widening * width) * 2 // 3
    return -(-size // FFN_MULTIPLE) * FFN_MULTIPLE


# Hides values in training: (site, values) → values; the block's sites are residual (what it
# writes), hidden (of the feed-forward layer) and attention (weights).
Drop = Callable[[str, Array], Array]


class BlockSizes(Protocol):
    """What a block reads of a model's configuration."""

    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def key_size(self) -> int: ...
    @property
    def widening(self) -> float: ...
    @property
    def compute_dtype(self) -> str: ...


@dataclass(frozen=True, slots=True)
class BlockStyle:
    """Choices within the block; the defaults are the original's."""

    norm: Literal["sandwich", "pre"] = "sandwich"  # pre: no norm behind attention and ffn
    soft_cap: bool = True
    rotary: bool = True
    residual_scale: float = 1.0  # of the initial matrices that write to the residual stream


ORIGINAL_STYLE = BlockStyle()


class Block(hk.Module):
    """One layer; encode the context once, then any number of candidates against it."""

    def __init__(self, config: BlockSizes, name: str, style: BlockStyle = ORIGINAL_STYLE) -> None:
        super().__init__(name=name)
        self._config, self._style = config, style

    def keys_values(self, context: Array, positions: Array) -> KeysValues:
        """Context [B, T, D] at positions [T] → its keys and values (all the last layer needs)."""
        normed = self._norm("norm_attention_in", context)
        return self._kept(normed, positions)

    def encode(
        self, context: Array, positions: Array, mask: Array, drop: Drop | None = None
    ) -> tuple[Array, KeysValues]:
        """Context [B, T, D] under mask [B, T, T] (query, key) → next context, keys and values.

        `drop` hides values in training; serving passes none.
        """
        normed = self._norm("norm_attention_in", context)
        keys_values = self._kept(normed, positions)
        query = self._rotated(self._heads("query", normed), positions)
        if self._is_alone(query) and drop is None:
            mixed = attend_alone(query, keys_values, mask[0], None, self._dtype)
        else:
            capped = self._style.soft_cap
            mixed = attend(query, keys_values, mask, dtype=self._dtype, capped=capped, drop=drop)
        return self._residual(context, mixed, drop), keys_values

    def score(self, candidates: Array, context: KeysValues, context_mask: Array) -> Array:
        """Candidates [B, C, D] → [B, C, D]; each sees the context (mask [B, T]) and itself.

        All stand at position 0, the reference of the context's rotations, so neither query nor
        own key is rotated.
        """
        normed = self._norm("norm_attention_in", candidates)
        own = OwnKeysValues(self._heads("key", normed), self._heads("value", normed))
        query = self._heads("query", normed)
        if self._is_alone(query):
            mixed = attend_alone(query, context, context_mask, own, self._dtype)
        else:
            capped, dtype = self._style.soft_cap, self._dtype
            mixed = attend_with_own(query, context, context_mask, own, dtype=dtype, capped=capped)
        return self._residual(candidates, mixed)

    @property
    def _dtype(self) -> str:
        return self._config.compute_dtype

    def _is_alone(self, query: Array) -> bool:
        """Whether one viewer's faster way applies; without the cap an exponential may overflow."""
        return query.shape[0] == 1 and self._style.soft_cap

    def _heads(self, name: str, x: Array) -> Array:
        """Key, value or query heads [B, T, heads, K]."""
        heads = self._config.heads if name == "query" else self._config.kv_heads
        projected = self._linear(name, x, heads * self._config.key_size)
        return projected.reshape(*x.shape[:-1], heads, self._config.key_size)

    def _kept(self, normed: Array, positions: Array) -> KeysValues:
        keys = self._rotated(self._heads("key", normed), positions)
        return kept(keys, self._heads("value", normed), self._dtype)

    def _rotated(self, x: Array, positions: Array) -> Array:
        return rotate(x, positions) if self._style.rotary else x

    def _residual(self, x: Array, mixed: Array, drop: Drop | None = None) -> Array:
        """Second half of the block, of attention's [B, T, H · K]: its output and feed-forward."""
        x = x + self._written("norm_attention_out", "output", mixed, x.shape[-1], drop)
        normed = self._norm("norm_ffn_in", x)
        hidden = ffn_width(x.shape[-1], self._config.widening)
        gate = jax.nn.gelu(self._linear("ffn_gate", normed, hidden), approximate=True)
        gated = gate * self._linear("ffn_value", normed, hidden)
        gated = gated if drop is None else drop("hidden", gated)
        return x + self._written("norm_ffn_out", "ffn_output", gated, x.shape[-1], drop)

    def _written(self, norm: str, name: str, x: Array, size: int, drop: Drop | None) -> Array:
        """What one half adds to the residual stream."""
        scale = self._style.residual_scale
        added = matmul(x, fan_in_matrix(name, x.shape[-1], size, scale), self._dtype)
        if self._style.norm == "sandwich":
            added = self._norm(norm, added)
        return added if drop is None else drop("residual", added)

    def _linear(self, name: str, x: Array, size: int) -> Array:
        return matmul(x, fan_in_matrix(name, x.shape[-1], size), self._dtype)

    def _norm(self, name: str, x: Array) -> Array:
        return rms_norm(x, norm_scale(name, x.shape[-1]))


def fan_in_matrix(name: str, inputs: int, outputs: int, scale: float = 1.0) -> Array:
    """A matrix parameter of the enclosing module, variance scale² / inputs."""
    return hk.get_parameter(name, (inputs, outputs), jnp.float32, Normal(scale * inputs**-0.5))


def norm_scale(name: str, width: int) -> Array:
    return hk.get_parameter(name, (width,), jnp.float32, Constant(1.0))


def bias(name: str, width: int) -> Array:
    return hk.get_parameter(name, (width,), jnp.float32, Constant(0.0))


def table(name: str, rows: int, width: int) -> Array:
    """A small vocabulary's embeddings (surfaces, buckets), variance 1 / width."""
    return hk.get_parameter(name, (rows, width), jnp.float32, Normal(width**-0.5))
