"""Tokens: what the transformer reads of a viewer, a history event and a candidate.

Glossary: B batch, S history, C candidates, T = 1 + S, A actions, J hashes, E table width, D width.

    viewer    = [rows(viewer)] W_user + b
    event     = [rows(post), rows(author), actions, surface, time gap, dwell] W_history
    candidate = [rows(post), rows(author), surface, post age, (own past with the author)] W_cand

and where the model is configured to read them: the mean of the rows of the tags, the duration, the
share of it that the dwell is (events), the hour and the content vector (candidates).

actions = (2a − 1) W_actions, zero for an event without actions. Time gap and post age are
buckets; dwell seconds pass a small network. Source: the original's input (2026-01) with the post
age and dwell of 2026-05; the time gap is ours (weakness P9). Deviation: the viewer token has a
bias and is always there, so an unknown viewer is a viewer and not a gap.
"""

from __future__ import annotations

import haiku as hk
import jax
import jax.numpy as jnp

from phoenix.config import ModelConfig
from phoenix.features import CandidateInputs, ContextInputs
from phoenix.layers import bias, fan_in_matrix, matmul, table
from phoenix.tables import CandidateRows, ContextRows

Array = jax.Array

GAP_BUCKETS = 25  # unknown, then ⌊log2(1 + minutes)⌋ up to 2^23 minutes, 16 years
DURATION_BUCKETS = 28  # unknown, then half doublings up to 2^13 s, over two hours
HOURS = 25  # unknown, then the hours of a day
DWELL_HIDDEN = 64  # upstream, 2026-05


class Tokens(hk.Module):
    """Builds the three kinds of tokens."""

    def __init__(self, config: ModelConfig, dwell_scale_seconds: float, name: str) -> None:
        super().__init__(name=name)
        self._config = config
        self._dwell_scale_seconds = dwell_scale_seconds

    def context(self, rows: ContextRows, inputs: ContextInputs) -> Array:
        """→ [B, T, D]: the viewer, then the history, newest last."""
        user = self._project("user", flat_hashes(rows.user)) + bias("user_bias", self._config.width)
        history = jnp.concatenate(
            [
                flat_hashes(rows.post),
                flat_hashes(rows.author),
                self._actions(inputs.history_actions),
                self._surface(inputs.history_surface),
                self._gap(inputs.history_age_seconds),
                self._dwell(inputs.history_dwell_seconds),
                *self._optional_tags(rows.tag, inputs.history_tag_hashes),
                *self._optional_duration(inputs.history_duration_seconds),
                *_dwell_share(inputs),
            ],
            axis=-1,
        )
        return jnp.concatenate([user[:, None], self._project("history", history)], axis=1)

    def candidate_features(self, rows: CandidateRows, inputs: CandidateInputs) -> Array:
        """→ [B, C, F]: what is known of a candidate by itself."""
        return jnp.concatenate(
            [
                flat_hashes(rows.post),
                flat_hashes(rows.author),
                self._surface(inputs.surface),
                self._post_age(inputs.age_seconds),
                *self._optional_tags(rows.tag, inputs.tag_hashes),
                *self._optional_duration(inputs.duration_seconds),
                *self._optional_hour(inputs.hour),
                *self._optional_content(inputs.content),
            ],
            axis=-1,
        )

    def candidates(self, features: Array) -> Array:
        """[B, C, F] → [B, C, D]."""
        return self._project("candidate", features)

    def _actions(self, actions: Array) -> Array:
        any_action = (actions.sum(axis=-1, keepdims=True) > 0).astype(jnp.float32)
        weight = fan_in_matrix("actions", actions.shape[-1], self._config.embedding_width)
        return any_action * matmul(2.0 * actions - 1.0, weight, self._config.compute_dtype)

    def _surface(self, surface: Array) -> Array:
        c = self._config
        return table("surface", c.num_surfaces, c.embedding_width)[surface]

    def _gap(self, age_seconds: Array) -> Array:
        return table("time_gap", GAP_BUCKETS, self._config.embedding_width)[gap_bucket(age_seconds)]

    def _post_age(self, age_seconds: Array) -> Array:
        c = self._config
        return table("post_age", c.post_age_buckets, c.embedding_width)[
            post_age_bucket(age_seconds, c.post_age_granularity_minutes, c.post_age_max_minutes)
        ]

    def _dwell(self, dwell_seconds: Array) -> Array:
        known = (dwell_seconds >= 0).astype(jnp.float32)
        ratio = dwell_ratio(dwell_seconds, self._dwell_scale_seconds)
        inputs = jnp.stack([ratio, known], axis=-1)
        hidden = matmul(inputs, fan_in_matrix("dwell_hidden", 2, DWELL_HIDDEN), "float32")
        hidden = jax.nn.gelu(hidden + bias("dwell_bias", DWELL_HIDDEN))
        weight = fan_in_matrix("dwell_output", DWELL_HIDDEN, self._config.embedding_width)
        return matmul(hidden, weight, "float32")

    def _optional_tags(self, rows: Array | None, hashes: Array | None) -> list[Array]:
        """The mean [..., E] of the rows [..., G, E] of the tags that there are."""
        if rows is None or hashes is None:
            return []
        there = (jnp.asarray(hashes) != 0).astype(jnp.float32)[..., None]
        return [(rows * there).sum(axis=-2) / jnp.maximum(there.sum(axis=-2), 1.0)]

    def _optional_duration(self, seconds: Array | None) -> list[Array]:
        if seconds is None:
            return []
        width = self._config.embedding_width
        return [table("duration", DURATION_BUCKETS, width)[duration_bucket(jnp.asarray(seconds))]]

    def _optional_hour(self, hour: Array | None) -> list[Array]:
        if hour is None:
            return []
        return [table("hour", HOURS, self._config.embedding_width)[jnp.asarray(hour)]]

    def _optional_content(self, content: Array | None) -> list[Array]:
        if content is None:
            return []
        width = self._config.embedding_width
        weight = fan_in_matrix("content", content.shape[-1], width)
        return [matmul(jnp.asarray(content), weight, "float32")]

    def _project(self, name: str, x: Array) -> Array:
        c = self._config
        return matmul(x, fan_in_matrix(name, x.shape[-1], c.width), c.compute_dtype)


def flat_hashes(rows: Array) -> Array:
    """[..., J, E] → [..., J · E]."""
    return rows.reshape(*rows.shape[:-2], rows.shape[-2] * rows.shape[-1])


def duration_bucket(seconds: Array) -> Array:
    """0 unknown; then 1 + ⌊2 log2(1 + s)⌋, two buckets a doubling, the last for all longer."""
    half_doublings = jnp.floor(2.0 * jnp.log2(1.0 + jnp.maximum(seconds, 0.0))) + 1
    last = DURATION_BUCKETS - 1
    return jnp.where(seconds < 0, 0, jnp.minimum(half_doublings, last)).astype(jnp.int32)


def _dwell_share(inputs: ContextInputs) -> list[Array]:
    """[B, S, 2]: dwell / duration, at most 2 (played twice), and whether both are known."""
    if inputs.history_duration_seconds is None:
        return []
    duration = jnp.asarray(inputs.history_duration_seconds)
    dwell = jnp.asarray(inputs.history_dwell_seconds)
    known = (duration > 0) & (dwell >= 0)
    share = jnp.where(known, jnp.clip(dwell / jnp.maximum(duration, 1.0), 0.0, 2.0), 0.0)
    return [jnp.stack([share, known.astype(jnp.float32)], axis=-1)]


def gap_bucket(age_seconds: Array) -> Array:
    """0 unknown; then 1 + ⌊log2(1 + minutes)⌋, the last for all that is older."""
    doublings = jnp.floor(jnp.log2(1.0 + jnp.maximum(age_seconds, 0.0) / 60.0)) + 1
    return jnp.where(age_seconds < 0, 0, jnp.minimum(doublings, GAP_BUCKETS - 1)).astype(jnp.int32)


def post_age_bucket(age_seconds: Array, granularity_minutes: int, max_minutes: int) -> Array:
    """0 unknown; then 1 + whole granules, the last for all that is older (upstream, 2026-05)."""
    granules = jnp.floor(age_seconds / (60.0 * granularity_minutes)) + 1
    last = max_minutes // granularity_minutes + 1
    return jnp.where(age_seconds < 0, 0, jnp.clip(granules, 1, last)).astype(jnp.int32)


def dwell_ratio(dwell_seconds: Array, scale_seconds: float) -> Array:
    """ln(1 + min(t, scale)) / ln(1 + scale): 0 at no or unknown dwell, 1 from the scale on."""
    clipped = jnp.clip(dwell_seconds, 0.0, scale_seconds)
    return jnp.log1p(clipped) / jnp.log1p(jnp.float32(scale_seconds))
