"""The sequential model: what a user did → vectors that score every item as the next one.

Glossary: B batch, T history, D width, V items (row 0 of every item array is padding).

    h_0 = √D · (row(item) + row(position)),  h_l = block(h_{l-1}),  user = norm(h_L)
    score(item) = user · target(item) [+ bias(item)]
    unit_norm: score = cos(user, target(item)) / temperature, the temperature learned

The blocks are `phoenix.layers.Block`, which the ranker and retrieval run as well. Histories are
right-anchored: position 0 is the newest event, so that a longer history moves nobody.
A set of items (`causal=False`) is pooled: the mean over its items is the one user vector.

Source: SASRec (Kang & McAuley 2018) for the task, with the tied rows of its released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from phoenix.initialise import Constant, Normal, draw_parameters
from phoenix.layers import (
    Block,
    Drop,
    bias,
    fan_in_matrix,
    matmul,
    norm_scale,
    rms_norm,
    unit_norm,
)
from phoenix.sequential.config import SequentialConfig

Array = jax.Array
Params = Mapping[str, Any]  # {"dense": Haiku parameters, "tables": {"item": [V + 1, D]}}

POSITION_STDDEV = 0.02  # nanoGPT and GPT-2; positions start well below the items


class SequentialModel:
    """Pure functions over `Params`; every method may be jitted, shapes are static."""

    def __init__(self, config: SequentialConfig) -> None:
        self.config = config
        transformed = hk.without_apply_rng(hk.multi_transform(lambda: _network(config)))
        self._users, self._targets, self._scale, self._bias = transformed.apply
        self.score_program = jax.jit(self.scores)  # compiled once per model and batch length

    def init(self, seed: int, item_rows: Any = None) -> dict[str, Any]:
        """Fresh parameters: {"dense": ..., "tables": ...}.

        `item_rows` [V + 1, D] of length 1 replace random rows; they are scaled to their size.
        """
        c = self.config
        stddev = c.width**-0.5 if c.unit_norm else c.item_stddev
        if item_rows is None:
            rng = np.random.default_rng([seed, 0x17E35])
            rows = Normal(stddev).draw(rng, (c.num_items + 1, c.width))
        else:
            rows = (item_rows * stddev * c.width**0.5).astype(np.float32)
        history = np.zeros((1, c.history_length), np.int32)
        dense = draw_parameters(lambda *a: _network(c)[0](*a), seed, rows, history)
        return {"dense": dense, "tables": {"item": jnp.asarray(rows)}}

    def users(self, params: Params, history: Array, drop: Drop | None = None) -> Array:
        """Items [B, T], 0 is padding and stands on the left → [B, T, D] (a set: [B, D])."""
        rows = self._input_rows(params)
        vectors: Array = self._users(params["dense"], rows, history, drop)
        return vectors

    def targets(self, params: Params) -> Array:
        """→ [V + 1, D]: what a user's vector is multiplied with."""
        vectors: Array = self._targets(params["dense"], self._input_rows(params))
        return vectors

    def bias(self, params: Params) -> Array:
        """→ [V + 1], zero without item_bias."""
        values: Array = self._bias(params["dense"])
        return values

    def scaled(self, params: Params, users: Array) -> Array:
        """User vectors [..., D], of length 1 / temperature with unit_norm."""
        if not self.config.unit_norm:
            return users
        scale: Array = self._scale(params["dense"])
        return unit_norm(users) * scale

    def scores(self, params: Params, history: Array) -> Array:
        """Items [B, T] → [B, V + 1], the score of every item as the next; column 0 is padding."""
        users = self.users(params, history)
        users = self.scaled(params, users[:, -1] if self.config.causal else users)
        product = matmul(users, self.targets(params).T, self.config.compute_dtype)
        return product + self.bias(params)

    def _input_rows(self, params: Params) -> Array:
        rows: Array = params["tables"]["item"]
        return unit_norm(rows) if self.config.unit_norm else rows


class _SequentialNetwork(hk.Module):
    def __init__(self, config: SequentialConfig) -> None:
        super().__init__(name="sequential")
        self._config = config
        self._blocks = [
            Block(config, name=f"layer_{i}", style=config.style) for i in range(config.layers)
        ]

    def users(self, rows: Array, history: Array, drop: Drop | None = None) -> Array:
        c, (_, length) = self._config, history.shape
        present = history > 0
        hidden = self._tokens(rows, history)
        hidden = hidden if drop is None else drop("embedding", hidden)
        hidden = jnp.where(present[..., None], hidden, 0.0)
        positions = jnp.arange(1 - length, 1)
        allowed = jnp.broadcast_to(present[:, None, :], (len(history), length, length))
        allowed = allowed & jnp.tri(length, dtype=bool) if c.causal else allowed
        for block in self._blocks:
            hidden, _ = block.encode(hidden, positions, allowed, drop)
        hidden = rms_norm(hidden, norm_scale("norm_final", c.width))
        return hidden if c.causal else _mean(hidden, present)

    def _tokens(self, rows: Array, history: Array) -> Array:
        c = self._config
        hidden: Array = rows[history]
        if c.positions in ("learned", "both"):
            initial = Normal(POSITION_STDDEV)
            shape = (c.history_length, c.width)
            position = hk.get_parameter("position", shape, jnp.float32, initial)
            hidden = hidden + position[c.history_length - history.shape[1] :]
        scaled: Array = hidden * c.width**0.5
        return scaled

    def targets(self, rows: Array) -> Array:
        """The candidate tower: tied rows, or what an MLP adds to them."""
        c = self._config
        if c.item_tower == "mlp":
            hidden = matmul(rows, fan_in_matrix("item_hidden", c.width, 2 * c.width), "float32")
            hidden = jax.nn.silu(hidden + bias("item_hidden_bias", 2 * c.width))
            rows = rows + matmul(
                hidden, fan_in_matrix("item_output", 2 * c.width, c.width), "float32"
            )
        return unit_norm(rows) if c.unit_norm else rows

    def scale(self) -> Array:
        initial = Constant(float(-np.log(self._config.temperature)))
        return jnp.exp(hk.get_parameter("log_scale", (), jnp.float32, initial))

    def bias(self) -> Array:
        c = self._config
        return bias("item_bias", c.num_items + 1) if c.item_bias else jnp.zeros(c.num_items + 1)


def _mean(hidden: Array, present: Array) -> Array:
    """[B, T, D] → [B, D] over what is present; nobody's history gives a zero vector."""
    weight = present.astype(jnp.float32)[..., None]
    return (hidden * weight).sum(axis=1) / jnp.maximum(weight.sum(axis=1), 1.0)


def _network(config: SequentialConfig) -> tuple[Any, tuple[Any, Any, Any, Any]]:
    network = _SequentialNetwork(config)

    def template(rows: Array, history: Array) -> tuple[Array, ...]:
        outputs = network.users(rows, history), network.targets(rows), network.bias()
        return (*outputs, network.scale()) if config.unit_norm else outputs

    return template, (network.users, network.targets, network.scale, network.bias)
