"""The cached ranker must equal one masked attention over viewer, history and candidates together.

The reference below builds the whole sequence, all positions and the whole mask, and shares with
the ranker only the parameters and the token features.
"""

from __future__ import annotations

from typing import Any

import haiku as hk
import jax
import numpy as np
import pytest

from phoenix.config import ranker_preset
from phoenix.ranker import DWELL_LOG_MAX, Ranker, _RankerNetwork

TOLERANCE = 1e-5


def _norm(x, scale):
    return scale * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def _rotate(x, position):
    """One vector [K] at one position, as complex numbers."""
    half = x.shape[-1] // 2
    angle = position * 10_000.0 ** (-np.arange(half) / half)
    turned = (x[:half] + 1j * x[half:]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag])


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _block(x, p, config, positions, mask):
    """x [N, D] → [N, D] by loops over heads and queries, in float64."""
    count = len(x)
    normed = _norm(x, p["norm_attention_in"])
    repeat = config.heads // config.kv_heads
    shape = (count, -1, config.key_size)
    q, k, v = ((normed @ p[name]).reshape(shape) for name in ("query", "key", "value"))
    mixed = np.zeros((count, config.heads, config.key_size))
    for head in range(config.heads):
        group = head // repeat
        keys = np.stack([_rotate(k[j, group], positions[j]) for j in range(count)])
        for i in range(count):
            raw = keys @ _rotate(q[i, head], positions[i]) / np.sqrt(config.key_size)
            capped = np.where(mask[i], 30 * np.tanh(raw / 30), -1e30)
            weights = np.exp(capped - capped.max())
            mixed[i, head] = (weights / weights.sum()) @ v[:, group]
    x = x + _norm(mixed.reshape(count, -1) @ p["output"], p["norm_attention_out"])
    normed = _norm(x, p["norm_ffn_in"])
    hidden = _gelu(normed @ p["ffn_gate"]) * (normed @ p["ffn_value"])
    return x + _norm(hidden @ p["ffn_output"], p["norm_ffn_out"])


def _mask(history_mask, candidates, causal):
    """[N, N] query by key: the context among itself, candidates see the context and themselves."""
    prefix = 1 + len(history_mask)
    total = prefix + candidates
    mask = np.zeros((total, total), bool)
    mask[:prefix, :prefix] = np.tri(prefix) if causal else 1
    mask[prefix:, :prefix] = 1
    mask[np.arange(total), np.arange(total)] = 1
    exists = np.concatenate([[True], history_mask, np.ones(candidates, bool)])
    return mask & exists[None, :]


def _tokens(config, params, context, candidates):
    """Token values of the network itself: the reference is one of attention, not of features."""

    def build(context_rows: Any, candidate_rows: Any) -> Any:
        network = _RankerNetwork(config)
        tokens = network._tokens.context(context_rows, context)
        cache = network.encode(context_rows, context)
        features, joined = network.features(cache, candidate_rows, candidates)
        return tokens, joined, features

    from phoenix.tables import gather_candidates, gather_context

    rows = (
        gather_context(params["tables"], context),
        gather_candidates(params["tables"], candidates),
    )
    apply = hk.without_apply_rng(hk.transform(build)).apply
    return [np.asarray(x, np.float64) for x in jax.jit(apply)(params["dense"], *rows)]


@pytest.mark.parametrize(
    "changes",
    [{}, {"causal": True}, {"kv_heads": 2}, {"profile_channels": 0, "author_match": False}],
    ids=["bidirectional", "causal", "multi-head", "plain"],
)
def test_cached_scores_equal_full_masked_attention(changes, make_batch):
    """Caching keys and values is a way to compute the same thing faster, nothing else."""
    config = ranker_preset("nano", **changes)
    ranker = Ranker(config)
    rng = np.random.default_rng(1)
    params = ranker.init(1)
    params["dense"] = jax.tree.map(
        lambda w: np.float32(w + 0.3 * rng.standard_normal(w.shape)), params["dense"]
    )
    params["tables"] = {name: 4 * np.asarray(table) for name, table in params["tables"].items()}
    context, candidates = make_batch(config)
    output = jax.jit(ranker.predict)(params, context, candidates)
    probabilities = np.asarray(jax.nn.sigmoid(output.logits))

    tokens, candidate_tokens, features = _tokens(config, params, context, candidates)
    dense = jax.tree.map(lambda w: np.asarray(w, np.float64), params["dense"])
    head = dense["ranker"]
    history, shown = context.history_mask.shape[1], candidates.surface.shape[1]
    positions = np.concatenate(
        [[-config.history_length - 1], np.arange(-history, 0), np.zeros(shown)]
    )
    for row in range(len(tokens)):
        hidden = np.concatenate([tokens[row], candidate_tokens[row]])
        mask = _mask(context.history_mask[row], shown, config.causal)
        for layer in range(config.layers):
            hidden = _block(hidden, dense[f"ranker/~/layer_{layer}"], config, positions, mask)
        read = _norm(hidden[-shown:], head["norm_final"]) @ head["head"]
        values = read + features[row] @ head["direct"] + head["head_bias"]
        expected = 1 / (1 + np.exp(-values[:, :-1]))
        assert np.abs(expected - probabilities[row]).max() < TOLERANCE
        log_dwell = np.minimum(np.log1p(np.exp(values[:, -1])), DWELL_LOG_MAX)
        assert np.abs(log_dwell - np.asarray(output.dwell_log[row])).max() < 10 * TOLERANCE
