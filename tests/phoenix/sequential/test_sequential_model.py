"""The model: no look ahead, no trace of padding, and losses that aim at the full softmax."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phoenix.sequential.config import SequentialConfig, SequentialTraining
from phoenix.sequential.interactions import Sequences
from phoenix.sequential.losses import Catalogue, Negatives, gbce_beta, mean_loss
from phoenix.sequential.model import SequentialModel
from phoenix.sequential.negatives import NegativeSampler

SMALL = SequentialConfig(50, width=16, heads=2, history_length=12, item_stddev=0.5)
CONFIGS = {
    "base": SMALL,
    "rotary": replace(SMALL, positions="rotary"),
    "both": replace(SMALL, positions="both", norm="sandwich", soft_cap=True),
    "towers": replace(SMALL, item_tower="mlp", item_bias=True, unit_norm=True),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_later_item_changes_no_earlier_vector(name: str) -> None:
    """A model that sees the answer has a splendid loss and learns nothing."""
    model = SequentialModel(CONFIGS[name])
    params = model.init(0)
    history = np.random.default_rng(0).integers(1, 51, (3, 12)).astype(np.int32)
    changed = history.copy()
    changed[:, 7:] = changed[:, 7:] % 50 + 1
    users = jax.jit(model.users)
    before, after = users(params, history), users(params, changed)
    np.testing.assert_allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert np.abs(before[:, 7:] - after[:, 7:]).max() > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_on_the_left_changes_no_score(name: str) -> None:
    """Else a score would depend on the longest history in the batch."""
    model = SequentialModel(CONFIGS[name])
    params = model.init(0)
    history = np.random.default_rng(0).integers(1, 51, (3, 5)).astype(np.int32)
    wide = np.pad(history, ((0, 0), (7, 0)))
    np.testing.assert_allclose(
        model.score_program(params, history), model.score_program(params, wide), atol=1e-4
    )


def test_a_set_has_one_vector_whatever_its_order() -> None:
    """Order carries nothing where the file has none."""
    model = SequentialModel(replace(SMALL, causal=False, positions="none"))
    params = model.init(0)
    history = np.random.default_rng(0).integers(1, 51, (3, 12)).astype(np.int32)
    shuffled = history[:, ::-1]
    np.testing.assert_allclose(
        model.score_program(params, history), model.score_program(params, shuffled), atol=1e-4
    )


def test_given_rows_are_where_the_model_starts() -> None:
    """Else the factorisation would be computed for nothing."""
    rows = np.random.default_rng(0).standard_normal((51, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    start = SequentialModel(SMALL).init(0, rows)["tables"]["item"]
    np.testing.assert_allclose(start, rows * 0.5 * 4.0, rtol=1e-6)


def test_the_corrected_sampled_softmax_has_the_full_ones_gradient_on_average() -> None:
    """Popular items are drawn as negatives too often; uncorrected, they are pushed down."""
    users, vectors, targets, sequences = _tiny_corpus()
    full = _gradient(users, vectors, targets, SequentialTraining(loss="full"))
    training = SequentialTraining(loss="sampled", sampling="mixed", negatives=64)
    errors = {}
    for log_q in (True, False):
        chosen = replace(training, log_q=log_q)
        sampler, rng = NegativeSampler(sequences, 10, chosen), np.random.default_rng(5)
        drawn = [sampler.draw(sequences.items, rng) for _ in range(400)]
        many = Negatives(*(np.stack(part) for part in zip(*drawn, strict=True)))
        mean = np.mean(_gradients(users, vectors, targets, many, chosen), axis=0)
        errors[log_q] = np.abs(mean - full).max() / np.abs(full).max()
    assert errors[True] < 0.03
    assert errors[False] > 3 * errors[True]


def test_gbce_weighs_the_positive_between_bce_and_the_share_that_is_sampled() -> None:
    """β = 1 is plain BCE, β = a undoes the overconfidence (Petrov & Macdonald 2023, eq. 9)."""
    assert gbce_beta(0.1, 0.0) == pytest.approx(1.0)
    assert gbce_beta(0.1, 1.0) == pytest.approx(0.1)
    assert gbce_beta(1.0, 0.75) == pytest.approx(1.0)


def test_negatives_are_never_the_rows_own_target() -> None:
    """A target pushed down as its own negative cannot rise."""
    users, vectors, targets, _ = _tiny_corpus()
    only = Negatives(np.full(8, targets[0, 0], np.int32), np.zeros(8, np.float32))
    for loss in ("sampled", "gbce"):
        training = SequentialTraining(loss=loss)  # type: ignore[arg-type]
        value = mean_loss(
            users[:1], targets[:1], Catalogue(vectors, jnp.zeros(11)), only, training, "float32"
        )
        positive = float(users[0] @ vectors[int(targets[0, 0])])
        expected = 0.0 if loss == "sampled" else np.log1p(np.exp(-positive))
        beta = gbce_beta(8 / 9, 0.75) if loss == "gbce" else 1.0
        assert float(value) == pytest.approx(beta * expected, abs=1e-5)


def _tiny_corpus() -> tuple[Any, Any, Any, Sequences]:
    rng = np.random.default_rng(0)
    users = jnp.asarray(rng.standard_normal((6, 4)), jnp.float32)
    vectors = jnp.asarray(rng.standard_normal((11, 4)), jnp.float32)
    targets = jnp.asarray(rng.integers(1, 11, (6, 1)), jnp.int32)
    popular = [[1] * 20, [2] * 10, list(range(1, 11))]
    return users, vectors, targets, Sequences.of(popular)


def _gradient(users: Any, vectors: Any, targets: Any, training: SequentialTraining) -> np.ndarray:
    nothing = Negatives(np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32))
    return _gradients(users, vectors, targets, nothing, training)[0]


def _gradients(
    users: Any, vectors: Any, targets: Any, drawn: Negatives, training: SequentialTraining
) -> np.ndarray:
    """One gradient of the items' vectors for each draw of negatives."""

    def loss(rows: Any, negatives: Negatives) -> Any:
        catalogue = Catalogue(rows, jnp.zeros(len(rows)))
        return mean_loss(users, targets, catalogue, negatives, training, "float32")

    return np.asarray(jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(vectors, drawn))
