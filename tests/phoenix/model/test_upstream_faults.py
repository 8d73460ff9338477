"""The faults P1 to P10 of the original's models (January 2026), each mended and kept mended.

Comparisons are of probabilities in float32; 1e-5 is what is promised to callers.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from phoenix.features import CandidateInputs, ContextInputs, candidate_inputs, context_inputs
from phoenix.losses import ranker_loss
from phoenix.ranker import Ranker, context_positions

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def predict(ranker, ranker_params):
    """(context, candidates) → (probabilities [B, C, A], dwell seconds [B, C])."""
    compiled = jax.jit(ranker.predict)

    def run(context: ContextInputs, candidates: CandidateInputs) -> tuple[Any, Any]:
        output = compiled(ranker_params, context, candidates)
        return np.asarray(jax.nn.sigmoid(output.logits)), np.asarray(output.dwell_seconds)

    return run


def _take(inputs: Any, index: Any, axis: int) -> Any:
    return jax.tree.map(lambda array: np.take(array, index, axis), inputs)


def _pad_candidates(candidates: CandidateInputs, size: int) -> CandidateInputs:
    """Padding after the real candidates, as a bucket adds it."""
    extra = size - candidates.surface.shape[1]
    return jax.tree.map(
        lambda array: np.pad(array, [(0, 0), (0, extra)] + [(0, 0)] * (array.ndim - 2)), candidates
    )


def _pad_history(context: ContextInputs, size: int) -> ContextInputs:
    """Padding before the oldest event; its values must not matter, so they are not zero."""
    extra = size - context.history_mask.shape[1]

    def pad(name: str, array: Any) -> Any:
        if name == "user_hashes" or array is None:
            return array
        value = False if name == "history_mask" else 1
        widths = [(0, 0), (extra, 0)] + [(0, 0)] * (array.ndim - 2)
        return np.pad(array, widths, constant_values=value)

    return ContextInputs(**{name: pad(name, a) for name, a in context._asdict().items()})


def test_p1_a_score_does_not_depend_on_slot_order_subset_chunk_or_bucket(
    predict, ranker_config, make_batch
):
    """Scores that move with the batch can be neither cached, nor compared, nor explained."""
    context, candidates = make_batch(ranker_config, candidates=8)
    whole, seconds = predict(context, candidates)
    order = np.array([7, 2, 0, 5, 3, 1, 6, 4])
    shuffled, shuffled_seconds = predict(context, _take(candidates, order, 1))
    assert np.abs(shuffled - whole[:, order]).max() < TOLERANCE
    assert np.abs(shuffled_seconds - seconds[:, order]).max() < 1e-3
    alone, _ = predict(context, _take(candidates, [5], 1))
    assert np.abs(alone - whole[:, [5]]).max() < TOLERANCE
    chunks = [predict(context, _take(candidates, part, 1))[0] for part in ([0, 1, 2], range(3, 8))]
    assert np.abs(np.concatenate(chunks, axis=1) - whole).max() < TOLERANCE
    bucket, _ = predict(context, _pad_candidates(candidates, 16))
    assert np.abs(bucket[:, :8] - whole).max() < TOLERANCE


def test_p1_a_viewers_scores_do_not_depend_on_the_viewers_beside_them(
    predict, ranker_config, make_batch
):
    """Serving batches requests of strangers together."""
    context, candidates = make_batch(ranker_config)
    whole, _ = predict(context, candidates)
    one, _ = predict(_take(context, [1], 0), _take(candidates, [1], 0))
    assert np.abs(one - whole[[1]]).max() < TOLERANCE


def test_p2_every_parameter_array_has_a_gradient_from_the_first_step(
    ranker, ranker_config, make_batch
):
    """With zero matrices and zero scales the transformer would stay the identity for ever."""
    context, candidates = make_batch(ranker_config, lengths=(6, 3, 1))
    rng = np.random.default_rng(0)
    labels = (rng.random((3, 5, ranker_config.num_actions)) < 0.3).astype(np.float32)
    dwell = rng.uniform(0, 30, (3, 5)).astype(np.float32)

    def loss(params: Any) -> Any:
        output = ranker.predict(params, context, candidates)
        ones = np.ones((3, 5), np.float32)
        weights = np.ones(ranker_config.num_actions, np.float32)
        return ranker_loss(output, labels, dwell, ones, weights, 0.1)[0]

    gradients = jax.jit(jax.grad(loss))(ranker.init(0))
    flat = jax.tree_util.tree_leaves_with_path(gradients)
    silent = [jax.tree_util.keystr(path) for path, array in flat if not np.any(array)]
    assert silent == []
    assert len(flat) > 30


def test_p3_fresh_parameters_give_scores_that_differ_between_candidates(
    ranker, ranker_config, make_batch
):
    """A constant 0.5 hides that nothing was loaded."""
    context, candidates = make_batch(ranker_config)
    output = jax.jit(ranker.predict)(ranker.init(0), context, candidates)
    assert np.asarray(output.logits).std(axis=1).min() > 1e-4


def test_p4_the_model_is_jitted_over_its_inputs(ranker, ranker_params, ranker_config, make_batch):
    """Eager calls cost twenty times as much: inputs have to be pytrees."""
    context, candidates = make_batch(ranker_config)
    cache = jax.jit(ranker.encode)(ranker_params, context)
    split = jax.jit(ranker.score)(ranker_params, cache, candidates)
    whole = jax.jit(ranker.predict)(ranker_params, context, candidates)
    assert np.abs(np.asarray(split.log_probs) - np.asarray(whole.log_probs)).max() < TOLERANCE


def test_p5_dwell_is_seconds_and_never_negative(predict, ranker_config, make_batch):
    """The feed multiplies it with a weight per second; a sigmoid would cap it at one."""
    _, seconds = predict(*make_batch(ranker_config, batch=32, lengths=(6, 2, 0)))
    assert (seconds >= 0).all()
    assert seconds.max() > 1.0
    assert seconds.std() > 0.0


def test_p6_rows_of_the_answer_are_rows_of_the_request(predict, ranker_config, make_batch):
    """An answer is by position, ids stay with the caller: repeated ids get equal answers."""
    context, candidates = make_batch(ranker_config)
    twice = _take(candidates, [4, 0, 4], 1)
    probabilities, _ = predict(context, twice)
    assert np.abs(probabilities[:, 0] - probabilities[:, 2]).max() < TOLERANCE
    assert np.abs(probabilities[:, 0] - probabilities[:, 1]).max() > TOLERANCE


def test_p7_padding_a_history_changes_nothing(predict, ranker_config, make_batch):
    """A viewer's scores must not move when the history is put into a longer bucket."""
    context, candidates = make_batch(ranker_config, history=4, lengths=(4, 2, 0))
    short, _ = predict(context, candidates)
    long, _ = predict(_pad_history(context, ranker_config.history_length), candidates)
    assert np.abs(short - long).max() < TOLERANCE


@pytest.mark.parametrize("causal", [False, True])
def test_p7_the_newest_event_is_always_next_to_the_candidates(ranker_config, make_raw, causal):
    """Dropping the oldest of many events shifts no other event's position."""

    config = replace(ranker_config, causal=causal)
    for history in (1, 4, 8):
        positions = np.asarray(context_positions(history, config.history_length))
        assert positions[-1] == -1
        assert positions[0] == -config.history_length - 1
        assert (np.diff(positions[1:]) == 1).all()


def test_p8_validity_comes_from_the_mask_and_not_from_a_hash(predict, ranker_config, make_raw):
    """An event whose post is unknown still says which author and what was done."""
    raw = make_raw(ranker_config, lengths=(6, 6, 6))
    raw.history_post_ids = np.zeros_like(raw.history_post_ids)
    candidates = candidate_inputs(ranker_config, raw)
    known, _ = predict(context_inputs(ranker_config, raw), candidates)
    raw.history_mask = np.zeros_like(raw.history_mask)
    nothing, _ = predict(context_inputs(ranker_config, raw), candidates)
    assert np.abs(known - nothing).max() > 1e-3


def test_p8_padding_values_never_leak(predict, ranker_config, make_raw):
    """Whatever stands in a padded slot, the mask decides."""
    raw = make_raw(ranker_config, lengths=(3, 2, 0))
    candidates = candidate_inputs(ranker_config, raw)
    clean, _ = predict(context_inputs(ranker_config, raw), candidates)
    dirty = SimpleNamespace(**vars(raw))
    hidden = ~raw.history_mask
    for name in ("history_post_ids", "history_author_ids", "history_dwell_seconds"):
        setattr(dirty, name, np.where(hidden, 7, getattr(raw, name)))
    dirty.history_actions = np.where(hidden[..., None], 1.0, raw.history_actions)
    leaked, _ = predict(context_inputs(ranker_config, dirty), candidates)
    assert np.abs(clean - leaked).max() < TOLERANCE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("history_dwell_seconds", 29.0),
        ("history_age_seconds", 9e7),
        ("history_surface", 5),
        ("candidate_age_seconds", 90_000.0),
        ("candidate_surface", 3),
    ],
)
def test_p9_time_dwell_surface_and_age_reach_the_prediction(
    predict, ranker_config, make_raw, field, value
):
    """The original's history has no time and no dwell, its candidates no age."""
    raw = make_raw(ranker_config, lengths=(6, 6, 6))
    setattr(raw, field, np.ones_like(getattr(raw, field)))
    before, _ = predict(context_inputs(ranker_config, raw), candidate_inputs(ranker_config, raw))
    setattr(raw, field, np.full_like(getattr(raw, field), value))
    after, _ = predict(context_inputs(ranker_config, raw), candidate_inputs(ranker_config, raw))
    assert np.abs(before - after).max() > 1e-4


def test_p10_retrieval_vectors_serve_any_exact_index(
    retrieval, retrieval_params, retrieval_config, make_batch
):
    """Unit vectors of fixed meaning: an index may insert, delete and exclude without the model."""
    context, candidates = make_batch(retrieval_config, lengths=(6, 3, 0))
    users = np.asarray(jax.jit(retrieval.user_tower)(retrieval_params, context))
    posts = candidates.post_hashes.reshape(-1, 2), candidates.author_hashes.reshape(-1, 2)
    tower = jax.jit(retrieval.candidate_tower)
    vectors = np.asarray(tower(retrieval_params, *posts))
    assert np.abs(np.linalg.norm(users, axis=1) - 1).max() < TOLERANCE
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < TOLERANCE
    some = np.asarray(tower(retrieval_params, posts[0][3:7], posts[1][3:7]))
    assert np.abs(some - vectors[3:7]).max() < TOLERANCE


def test_p4_caches_name_their_shapes(ranker: Ranker, ranker_params, ranker_config, make_batch):
    """Serving keeps a cache per viewer: every array has the batch where it is expected."""
    context, _ = make_batch(ranker_config)
    cache = jax.jit(ranker.encode)(ranker_params, context)
    layers, batch, tokens = ranker_config.layers, 3, 1 + 6
    heads, size = ranker_config.kv_heads, ranker_config.key_size
    assert cache.layers.keys.shape == (layers, batch, heads, size, tokens)
    assert cache.layers.values.shape == (layers, batch, heads, tokens, size)
    assert cache.mask.shape == (batch, tokens)
    assert set(cache._fields) == {
        "layers", "mask", "author_hashes", "author_past", "profile", "tag_hashes", "durations",
        "user_rates", "wide",
    }  # fmt: skip
