"""Two-tower retrieval: a viewer and a post become unit vectors; their cosine is the score.

Glossary: B batch, S history, T = 1 + S, N posts, J hashes, E table width, O output width.

    viewer tower:  trunk over [viewer, history] → norm → mean over valid tokens → W; + W' profile
    post tower:    x = [rows(post), rows(author)]; silu(x W1) W2 + x W3

and each divided by its length (the profile: `phoenix.profile`).

Source: the original's retrieval model (2026-01). Deviations: a final norm before the pooling and
a projection after it; a linear path in each tower; bidirectional by default; rows are never
taken for ids (weakness P6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from phoenix.config import RetrievalConfig
from phoenix.features import CandidateInputs, ContextInputs
from phoenix.initialise import Constant, draw_parameters
from phoenix.layers import Block, fan_in_matrix, matmul, norm_scale, rms_norm, unit_norm
from phoenix.profile import event_facts, taste_profile
from phoenix.ranker import (
    context_attention_mask,
    context_mask,
    context_positions,
    dummy_context,
)
from phoenix.tables import (
    CandidateRows,
    ContextRows,
    gather_candidates,
    gather_context,
    init_tables,
)
from phoenix.tokens import Tokens, flat_hashes

Array = jax.Array
Params = Mapping[str, Any]  # {"dense": Haiku parameters, "tables": hash embedding tables}

INITIAL_LOG_SCALE = float(np.log(10.0))  # 1 / temperature at the start; learned


class RetrievalModel:
    """Pure functions over `Params`; every method may be jitted, shapes are static."""

    def __init__(self, config: RetrievalConfig) -> None:
        self.config = config
        transformed = hk.without_apply_rng(hk.multi_transform(lambda: _network(config)))
        self._user, self._candidate, self._scale = transformed.apply

    def _template(self, *inputs: Any) -> Any:
        return _network(self.config)[0](*inputs)

    def init(self, seed: int) -> dict[str, Any]:
        """Fresh parameters: {"dense": ..., "tables": ...}."""
        tables = init_tables(self.config, seed)
        context = dummy_context(self.config)
        hashes = np.zeros((1, self.config.num_hashes), np.int32)
        rows = gather_posts(tables, hashes, hashes)
        context_rows = gather_context(tables, context)
        dense = draw_parameters(self._template, seed, context_rows, rows, context)
        return {"dense": dense, "tables": tables}

    def user_tower(self, params: Params, context: ContextInputs) -> Array:
        """→ [B, O] unit vectors."""
        rows = gather_context(params["tables"], context)
        return self.user_rows(params["dense"], rows, context)

    def candidate_tower(self, params: Params, post_hashes: Any, author_hashes: Any) -> Array:
        """Hashes [N, J] of posts and of their authors → [N, O] unit vectors."""
        rows = gather_posts(params["tables"], post_hashes, author_hashes)
        return self.candidate_rows(params["dense"], rows)

    def user_rows(self, dense: Any, rows: ContextRows, context: ContextInputs) -> Array:
        """`user_tower` on embeddings that were gathered elsewhere."""
        vectors: Array = self._user(dense, rows, context)
        return vectors

    def candidate_rows(self, dense: Any, rows: CandidateRows) -> Array:
        """`candidate_tower` on embeddings [..., J, E] that were gathered elsewhere."""
        vectors: Array = self._candidate(dense, rows)
        return vectors

    def scale(self, dense: Any) -> Array:
        """1 / temperature, learned with the towers; serving does not need it."""
        value: Array = self._scale(dense)
        return value


def gather_posts(tables: Any, post_hashes: Any, author_hashes: Any) -> CandidateRows:
    """Rows of posts outside any viewer's batch."""
    nothing = np.zeros(0, np.float32)
    inputs = CandidateInputs(post_hashes, author_hashes, nothing, nothing)
    return gather_candidates(tables, inputs)


class _RetrievalNetwork(hk.Module):
    def __init__(self, config: RetrievalConfig) -> None:
        super().__init__(name="retrieval")
        self._config = config
        self._tokens = Tokens(config, config.dwell_scale_seconds, name="tokens")
        self._blocks = [Block(config, name=f"layer_{i}") for i in range(config.layers)]

    def user(self, rows: ContextRows, inputs: ContextInputs) -> Array:
        hidden = self._tokens.context(rows, inputs)
        positions = context_positions(hidden.shape[1] - 1, self._config.history_length)
        mask = context_mask(jnp.asarray(inputs.history_mask))
        allowed = context_attention_mask(mask, self._config.causal)
        for block in self._blocks:
            hidden, _ = block.encode(hidden, positions, allowed)
        hidden = rms_norm(hidden, norm_scale("norm_final", hidden.shape[-1]))
        return unit_norm(
            self._linear("user_output", self._pool(hidden, mask)) + self._taste(rows, inputs)
        )

    def candidate(self, rows: CandidateRows) -> Array:
        features = jnp.concatenate([flat_hashes(rows.post), flat_hashes(rows.author)], axis=-1)
        width = 2 * self._config.output_width
        inner = matmul(
            features, fan_in_matrix("post_hidden", features.shape[-1], width), self._dtype
        )
        direct = self._linear("post_direct", features)
        return unit_norm(self._linear("post_output", jax.nn.silu(inner)) + direct)

    def _taste(self, rows: ContextRows, inputs: ContextInputs) -> Array:
        """[B, O] of the taste profile; zero width without channels."""
        channels = self._config.profile_channels
        if not channels:
            return jnp.zeros(self._config.output_width)
        facts = event_facts(inputs, self._config.dwell_scale_seconds)
        profile = taste_profile(rows, facts, jnp.asarray(inputs.history_mask), channels)
        return self._linear("user_direct", profile.reshape(profile.shape[0], -1))

    def scale(self) -> Array:
        return jnp.exp(hk.get_parameter("log_scale", (), jnp.float32, Constant(INITIAL_LOG_SCALE)))

    @property
    def _dtype(self) -> str:
        return self._config.compute_dtype

    def _linear(self, name: str, x: Array) -> Array:
        weight = fan_in_matrix(name, x.shape[-1], self._config.output_width)
        return matmul(x, weight, self._dtype)

    def _pool(self, hidden: Array, mask: Array) -> Array:
        if self._config.pool == "last":
            # Right-anchored: the newest event stands last; without one, the viewer token is all.
            return jnp.where(mask[:, -1:], hidden[:, -1], hidden[:, 0])
        weight = mask.astype(jnp.float32)[..., None]
        return (hidden * weight).sum(axis=1) / weight.sum(axis=1)


def _network(config: RetrievalConfig) -> tuple[Callable[..., Any], tuple[Any, Any, Any]]:
    network = _RetrievalNetwork(config)

    def template(
        context_rows: ContextRows, post_rows: CandidateRows, context: ContextInputs
    ) -> tuple[Array, Array, Array]:
        return network.user(context_rows, context), network.candidate(post_rows), network.scale()

    return template, (network.user, network.candidate, network.scale)
