"""The ranker: every action's probability and the expected dwell of each candidate.

Glossary: B batch, S history, T = 1 + S, C candidates, A actions, D width, L layers.

The context (viewer + history) is encoded once into per-layer keys and values; each candidate then
attends to the context and itself: O(S² + C·S) where one masked sequence of all costs
O((S + C)²). All candidates stand at one position, one past the newest event, and no candidate
sees another, so a score depends on the context and the candidate alone (weakness P1).

    logits = norm(h) W_head + features W_direct + b,   p = sigmoid(logits)
    dwell_seconds = e^s · expm1(softplus(norm(h) w + features w' + b'))     (never negative, P5)

The learned scalar s corrects the mean: a log-space fit alone estimates a median.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from phoenix.attention import KeysValues
from phoenix.config import RankerConfig
from phoenix.features import CandidateInputs, ContextInputs, contents, hours, optional_inputs
from phoenix.initialise import Constant, draw_parameters
from phoenix.layers import Block, bias, fan_in_matrix, matmul, norm_scale, rms_norm
from phoenix.profile import event_facts, item, sum_events, taste_profile
from phoenix.rates import affinity, rate_features
from phoenix.tables import (
    CandidateRows,
    ContextRows,
    gather_candidates,
    gather_context,
    init_tables,
)
from phoenix.tokens import Tokens, duration_bucket
from phoenix.wide import candidate_facts, mixed, viewer_facts, wide_logits, wide_table_shapes

Array = jax.Array
Params = Mapping[str, Any]  # {"dense": Haiku parameters, "tables": hash embedding tables}

PROFILE_SCALE = 4.0  # products of two small rows, brought near the size of the other features
DWELL_LOG_MAX = 9.0  # softplus is capped: e^9 s = 2.25 h, longer than any honest dwell


class ContextCache(NamedTuple):
    """An encoded context; leading axes [L, B] of the layers, [B] of the rest."""

    layers: KeysValues  # keys [L, B, G, K, T], values [L, B, G, T, K]
    mask: Array  # [B, T] bool
    author_hashes: Array  # [B, S, J] int32, for the viewer's own past with an author
    author_past: Array  # [B, S, A + 2] float32: actions, one, dwell ratio
    profile: Array  # [B, M, E] float32, the viewer's taste in the space of post and author rows
    # Zero wide where the model does not read them:
    tag_hashes: Array  # [B, S, G] int32, for the viewer's own past with a tag
    durations: Array  # [B, S, 0 or 1] int32, buckets, for their past with posts as long
    user_rates: Array  # [B, 2A] counts
    wide: Array  # [B, 2 + K] of the viewer: phoenix.wide


class RankerOutput(NamedTuple):
    """Predictions; `log_probs` is what the service sends."""

    logits: Array  # [B, C, A]
    dwell_seconds: Array  # [B, C], expected, ≥ 0
    dwell_log: Array  # [B, C], log1p of seconds before the mean correction; training's target

    @property
    def log_probs(self) -> Array:
        return jax.nn.log_sigmoid(self.logits)


class Ranker:
    """Pure functions over `Params`; every method may be jitted, shapes are static."""

    def __init__(self, config: RankerConfig) -> None:
        self.config = config
        transformed = hk.without_apply_rng(hk.multi_transform(lambda: _network(config)))
        self._encode, self._score, self._begin, self._finish, self._open = transformed.apply

    def _template(self, *inputs: Any) -> RankerOutput:
        return _network(self.config)[0](*inputs)

    def init(self, seed: int) -> dict[str, Any]:
        """Fresh parameters: {"dense": ..., "tables": ...}. They predict nothing yet."""
        tables = init_tables(self.config, seed)
        context, candidates = self._dummy_inputs()
        rows = (gather_context(tables, context), gather_candidates(tables, candidates))
        dense = draw_parameters(self._template, seed, *rows, context, candidates)
        wide = {name: jnp.zeros(shape) for name, shape in wide_table_shapes(self.config).items()}
        return {"dense": dense, "tables": tables | wide}

    def encode(self, params: Params, context: ContextInputs) -> ContextCache:
        """Any S up to `config.history_length`; the result does not depend on leading padding."""
        return self.encode_rows(params["dense"], self._context_rows(params, context), context)

    def open(self, params: Params, context: ContextInputs) -> tuple[Array, ContextCache]:
        """`encode` without the layers: what enters the first [B, T, D], and a cache lacking them.

        They are filled in elsewhere.
        """
        rows = self._context_rows(params, context)
        opened: tuple[Array, ContextCache] = self._open(params["dense"], rows, context)
        return opened

    def score(
        self, params: Params, cache: ContextCache, candidates: CandidateInputs
    ) -> RankerOutput:
        rows = self._candidate_rows(params, candidates)
        return self.score_rows(params["dense"], cache, rows, candidates)

    def begin(
        self,
        params: Params,
        cache: ContextCache,
        candidates: CandidateInputs,
        post: Array,
        author: Array,
    ) -> tuple[Array, Array]:
        """`score` up to the layers: features [B, C, F] and what enters the first [B, C, D].

        Its rows of posts and authors [B, C, J, E] were gathered elsewhere.
        """
        rows = self._candidate_rows(params, candidates)._replace(post=post, author=author)
        begun: tuple[Array, Array] = self._begin(params["dense"], cache, rows, candidates)
        return begun

    def finish(
        self,
        params: Params,
        cache: ContextCache,
        candidates: CandidateInputs,
        features: Array,
        hidden: Array,
    ) -> RankerOutput:
        """`score` behind the layers, of their [B, C, D] and the features that it began with."""
        rows = self._candidate_rows(params, candidates)
        output: RankerOutput = self._finish(params["dense"], cache, rows, features, hidden)
        return output

    def predict(
        self, params: Params, context: ContextInputs, candidates: CandidateInputs
    ) -> RankerOutput:
        return self.score(params, self.encode(params, context), candidates)

    def encode_rows(self, dense: Any, rows: ContextRows, context: ContextInputs) -> ContextCache:
        """`encode` on embeddings that were gathered elsewhere."""
        cache: ContextCache = self._encode(dense, rows, context)
        return cache

    def score_rows(
        self, dense: Any, cache: ContextCache, rows: CandidateRows, candidates: CandidateInputs
    ) -> RankerOutput:
        """`score` on embeddings that were gathered elsewhere."""
        output: RankerOutput = self._score(dense, cache, rows, candidates)
        return output

    def _context_rows(self, params: Params, context: ContextInputs) -> ContextRows:
        rows = gather_context(params["tables"], context)
        return rows._replace(wide=viewer_facts(self.config, params["tables"], context))

    def _candidate_rows(self, params: Params, candidates: CandidateInputs) -> CandidateRows:
        rows = gather_candidates(params["tables"], candidates)
        return rows._replace(wide=candidate_facts(self.config, params["tables"], candidates))

    def _dummy_inputs(self) -> tuple[ContextInputs, CandidateInputs]:
        return dummy_context(self.config), dummy_candidates(self.config)


def dummy_context(config: Any, batch: int = 1, history: int = 1) -> ContextInputs:
    """An empty history of an unknown viewer: shapes for initialisation and compilation."""
    hashes = np.zeros((batch, history, config.num_hashes), np.int32)
    mask = np.zeros((batch, history), bool)
    tags, durations = optional_inputs(config, mask)
    return ContextInputs(
        user_hashes=hashes[:, 0],
        history_post_hashes=hashes,
        history_author_hashes=hashes,
        history_actions=np.zeros((batch, history, config.num_actions), np.float32),
        history_dwell_seconds=np.full((batch, history), -1, np.float32),
        history_surface=np.zeros((batch, history), np.int32),
        history_age_seconds=np.zeros((batch, history), np.float32),
        history_mask=mask,
        history_tag_hashes=tags,
        history_duration_seconds=durations,
    )


def dummy_candidates(config: Any, batch: int = 1, candidates: int = 1) -> CandidateInputs:
    """Padding candidates: shapes for initialisation and compilation."""
    hashes = np.zeros((batch, candidates, config.num_hashes), np.int32)
    mask = np.zeros((batch, candidates), bool)
    tags, durations = optional_inputs(config, mask)
    return CandidateInputs(
        tag_hashes=tags,
        duration_seconds=durations,
        hour=hours(config, None, mask),
        content=contents(config, None, mask),
        post_hashes=hashes,
        author_hashes=hashes,
        surface=np.zeros((batch, candidates), np.int32),
        age_seconds=np.full((batch, candidates), -1, np.float32),
    )


def context_positions(history: int, history_length: int) -> Array:
    """Positions [T] relative to the candidates: the newest event −1, the viewer fixed before all.

    The viewer's distance comes from the model's `history_length`, not from the S of the call, so
    that padding S differently changes nothing (weakness P7).
    """
    return jnp.concatenate(
        [jnp.array([-history_length - 1]), jnp.arange(-history, 0)], axis=0
    ).astype(jnp.float32)


def context_attention_mask(mask: Array, causal: bool) -> Array:
    """[B, T] keys that exist → [B, T, T] (query, key)."""
    size = mask.shape[1]
    allowed = jnp.tril(jnp.ones((size, size), bool)) if causal else jnp.ones((size, size), bool)
    return allowed[None] & mask[:, None, :]


def context_mask(history_mask: Array) -> Array:
    """[B, S] → [B, T]: the viewer is always there."""
    return jnp.concatenate([jnp.ones_like(history_mask[:, :1]), history_mask], axis=1)


class _RankerNetwork(hk.Module):
    def __init__(self, config: RankerConfig) -> None:
        super().__init__(name="ranker")
        self._config = config
        self._tokens = Tokens(config, config.dwell_scale_seconds, name="tokens")
        self._blocks = [Block(config, name=f"layer_{i}") for i in range(config.layers)]

    def encode(self, rows: ContextRows, inputs: ContextInputs) -> ContextCache:
        hidden = self._tokens.context(rows, inputs)
        positions = context_positions(hidden.shape[1] - 1, self._config.history_length)
        mask = context_mask(jnp.asarray(inputs.history_mask))
        allowed = context_attention_mask(mask, self._config.causal)
        layers: list[KeysValues] = []
        for block in self._blocks[:-1]:
            hidden, keys_values = block.encode(hidden, positions, allowed)
            layers.append(keys_values)
        layers.append(self._blocks[-1].keys_values(hidden, positions))
        stacked = KeysValues(*(jnp.stack(arrays) for arrays in zip(*layers, strict=True)))
        return self._cache(stacked, mask, rows, inputs)

    def open(self, rows: ContextRows, inputs: ContextInputs) -> tuple[Array, ContextCache]:
        hidden = self._tokens.context(rows, inputs)
        mask = context_mask(jnp.asarray(inputs.history_mask))
        nothing = KeysValues(jnp.zeros(0), jnp.zeros(0))
        return hidden, self._cache(nothing, mask, rows, inputs)

    def _cache(
        self, layers: KeysValues, mask: Array, rows: ContextRows, inputs: ContextInputs
    ) -> ContextCache:
        past = event_facts(inputs, self._config.dwell_scale_seconds)
        profile = self._profile(rows, past, jnp.asarray(inputs.history_mask))
        authors = jnp.asarray(inputs.history_author_hashes)
        kept = _kept(rows, inputs)
        return ContextCache(layers, mask, authors, past, profile, *kept)

    def score(
        self, cache: ContextCache, rows: CandidateRows, inputs: CandidateInputs
    ) -> RankerOutput:
        features, hidden = self.features(cache, rows, inputs)
        for index, block in enumerate(self._blocks):
            layer = KeysValues(cache.layers.keys[index], cache.layers.values[index])
            hidden = block.score(hidden, layer, cache.mask)
        return self.finish(cache, rows, features, hidden)

    def finish(
        self, cache: ContextCache, rows: CandidateRows, features: Array, hidden: Array
    ) -> RankerOutput:
        output = self._heads(rms_norm(hidden, norm_scale("norm_final", hidden.shape[-1])), features)
        if rows.wide is None:  # always in training: the network learns by itself
            return output
        wide = wide_logits(cache.wide, rows.wide)
        return output._replace(logits=mixed(self._config, output.logits, wide))

    def features(
        self, cache: ContextCache, rows: CandidateRows, inputs: CandidateInputs
    ) -> tuple[Array, Array]:
        """Features [B, C, F] of the candidates, with what the context says of them, and tokens."""
        parts = [self._tokens.candidate_features(rows, inputs)]
        if self._config.profile_channels:
            parts.append(self._agreement(cache, rows))
        if self._config.author_match:
            parts.append(_past_with_author(cache, jnp.asarray(inputs.author_hashes)))
        if inputs.tag_hashes is not None:
            parts.append(_past_with(cache, cache.tag_hashes, jnp.asarray(inputs.tag_hashes)))
        if inputs.duration_seconds is not None:
            buckets = duration_bucket(jnp.asarray(inputs.duration_seconds))[..., None]
            parts.append(_past_with(cache, cache.durations, buckets))
        if self._config.rates:
            user = jnp.broadcast_to(
                cache.user_rates[:, None], (*rows.post.shape[:2], cache.user_rates.shape[-1])
            )
            parts.append(rate_features([user, *rows.rates], self._config.num_actions))
        features = jnp.concatenate(parts, axis=-1)
        return features, self._tokens.candidates(features)

    def _heads(self, hidden: Array, features: Array) -> RankerOutput:
        outputs = self._config.num_actions + 1
        read = matmul(hidden, fan_in_matrix("head", hidden.shape[-1], outputs), "float32")
        direct = matmul(features, fan_in_matrix("direct", features.shape[-1], outputs), "float32")
        values = read + direct + bias("head_bias", outputs)
        dwell_log = jnp.minimum(jax.nn.softplus(values[..., -1]), DWELL_LOG_MAX)
        mean_correction = jnp.exp(
            hk.get_parameter("dwell_mean_log", (), jnp.float32, Constant(0.0))
        )
        # Only the correction learns from seconds; the network learns from log1p of seconds.
        seconds = mean_correction * jax.lax.stop_gradient(jnp.expm1(dwell_log))
        return RankerOutput(values[..., :-1], seconds, dwell_log)

    def _profile(self, rows: ContextRows, past: Array, mask: Array) -> Array:
        channels = self._config.profile_channels
        if not channels:
            return jnp.zeros((past.shape[0], 0, self._config.embedding_width))
        return taste_profile(rows, past, mask, channels)

    def _agreement(self, cache: ContextCache, rows: CandidateRows) -> Array:
        """[B, C, M]: the inner product of each candidate with each channel of the profile."""
        candidates = item(rows.post, rows.author)
        return PROFILE_SCALE * sum_events(candidates, cache.profile.swapaxes(1, 2))


def _past_with_author(cache: ContextCache, author_hashes: Array) -> Array:
    """log1p of the counts of what the viewer did on each candidate's author: [B, C, A + 2].

    Two authors match when all their hashes do; padding (hash 0) matches nothing.
    """
    ours, theirs = author_hashes[:, :, None, :], cache.author_hashes[:, None, :, :]
    same = jnp.all((ours == theirs) & (ours != 0), axis=-1).astype(jnp.float32)  # [B, C, S]
    return jnp.log1p(sum_events(same, cache.author_past))


def _past_with(cache: ContextCache, theirs: Array, ours: Array) -> Array:
    """The viewer's affinity [B, C, A + 2] to posts that share a number above 0 with a candidate.

    `theirs` [B, S, X] of the history, `ours` [B, C, Y].
    """
    equal = ours[:, :, None, :, None] == theirs[:, None, :, None, :]
    same = jnp.any(equal & (ours != 0)[:, :, None, :, None], axis=(-2, -1)).astype(jnp.float32)
    return affinity(same, cache.author_past)


def _kept(rows: ContextRows, inputs: ContextInputs) -> tuple[Array, Array, Array, Array]:
    """What else of a context its candidates meet: tags, duration buckets, counts, wide facts."""
    batch = jnp.asarray(inputs.history_mask).shape
    tags, durations = jnp.zeros((*batch, 0), jnp.int32), jnp.zeros((*batch, 0), jnp.int32)
    counts = jnp.zeros((batch[0], 0)) if rows.user_rates is None else rows.user_rates
    if inputs.history_tag_hashes is not None:
        tags = jnp.asarray(inputs.history_tag_hashes)
    if inputs.history_duration_seconds is not None:
        durations = duration_bucket(jnp.asarray(inputs.history_duration_seconds))[..., None]
    wide = jnp.zeros((batch[0], 0)) if rows.wide is None else rows.wide
    return tags, durations, counts, wide


def _network(
    config: RankerConfig,
) -> tuple[Callable[..., RankerOutput], tuple[Callable[..., Any], ...]]:
    network = _RankerNetwork(config)

    def template(
        context_rows: ContextRows,
        candidate_rows: CandidateRows,
        context: ContextInputs,
        candidates: CandidateInputs,
    ) -> RankerOutput:
        return network.score(network.encode(context_rows, context), candidate_rows, candidates)

    parts = (network.encode, network.score, network.features, network.finish, network.open)
    return template, parts
