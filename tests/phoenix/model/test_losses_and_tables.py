"""Losses and the table optimiser against plain versions written out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from phoenix import table_optimizer
from phoenix.losses import ranker_loss, retrieval_loss
from phoenix.mesh import Layout
from phoenix.ranker import RankerOutput
from phoenix.tokens import dwell_ratio, gap_bucket, post_age_bucket


def _output(logits, seconds):
    seconds = jnp.asarray(seconds, jnp.float32)
    return RankerOutput(jnp.asarray(logits, jnp.float32), seconds, jnp.log1p(seconds))


def test_ranker_loss_is_weighted_cross_entropy_and_huber_where_dwell_is_known():
    """Padding and unknown dwell must not teach anything."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 3, 2))
    labels = (rng.random((2, 3, 2)) < 0.5).astype(np.float32)
    weight = np.array([[1, 1, 0], [1, 0, 0]], np.float32)
    dwell = np.array([[9.0, np.nan, 5.0], [1.0, 1.0, np.nan]], np.float32)
    output = _output(logits, np.full((2, 3), 4.0))
    _, parts = ranker_loss(output, labels, dwell, weight, np.array([1.0, 2.0]), 0.1)
    p = 1 / (1 + np.exp(-logits))
    entropy = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)) * [1.0, 2.0]
    expected = (entropy.sum(-1) * weight).sum() / 3
    assert np.isclose(float(parts["actions"]), expected, atol=1e-5)
    errors = np.log1p(4.0) - np.log1p(np.array([9.0, 1.0]))
    assert np.isclose(float(parts["dwell"]), (0.5 * errors**2).mean(), atol=1e-5)


def test_the_dwell_mean_is_right_where_the_loss_is_stationary():
    """A feed that adds seconds up needs the mean, not the median, of seconds."""
    seconds = np.array([[1.0, 1.0, 100.0]], np.float32)
    ones = np.ones((1, 3), np.float32)

    def loss(scale):
        output = RankerOutput(jnp.zeros((1, 3, 1)), scale * jnp.ones((1, 3)), jnp.zeros((1, 3)))
        return ranker_loss(output, jnp.zeros((1, 3, 1)), seconds, ones, np.ones(1), 0.0)[0]

    assert abs(float(jax.grad(loss)(seconds.mean()))) < 1e-5


def test_retrieval_loss_corrects_for_popularity_and_ignores_equal_posts():
    """Without log-Q, popular posts are punished for being drawn often."""
    rng = np.random.default_rng(1)
    users, posts, drawn = (rng.standard_normal((n, 4)) for n in (3, 3, 2))
    ids, drawn_ids = np.array([0, 1, 0]), np.array([1, 5])
    log_q, drawn_q = np.log([0.5, 0.25, 0.5]), np.log([0.1, 0.1])
    loss, _ = retrieval_loss(
        *(jnp.asarray(x, jnp.float32) for x in (users, posts, drawn)), jnp.float32(2.0),
        ids, drawn_ids, log_q, drawn_q, jnp.ones(3),
    )  # fmt: skip
    total = 0.0
    for i in range(3):
        logits = {j: 2 * users[i] @ posts[j] - log_q[j] - np.log(3) for j in range(3)}
        logits = {j: v for j, v in logits.items() if j == i or ids[j] != ids[i]}
        for g in range(2):
            if drawn_ids[g] != ids[i]:
                logits[3 + g] = 2 * users[i] @ drawn[g] - drawn_q[g] - np.log(2)
        total += np.log(sum(np.exp(v) for v in logits.values())) - logits[i]
    assert np.isclose(float(loss), total / 3, atol=1e-4)


def test_table_updates_equal_dense_row_wise_adagrad_and_spare_padding():
    """Rows of a batch repeat: their gradients add up before they are squared."""
    rng = np.random.default_rng(2)
    table = rng.standard_normal((9, 4)).astype(np.float32)
    accumulator = rng.random(9).astype(np.float32)
    hashes = [rng.integers(0, 9, (3, 2)), rng.integers(0, 9, 5)]
    gradients = [rng.standard_normal((*h.shape, 4)).astype(np.float32) for h in hashes]
    new, new_accumulator = table_optimizer.update(
        jnp.asarray(table), jnp.asarray(accumulator), [jnp.asarray(h) for h in hashes],
        [jnp.asarray(g) for g in gradients], jnp.float32(0.1), Layout.of(1),
    )  # fmt: skip
    summed = np.zeros_like(table)
    for index, gradient in zip(hashes, gradients, strict=True):
        np.add.at(summed, index.reshape(-1), gradient.reshape(-1, 4))
    summed[0] = 0
    expected = accumulator + (summed**2).mean(1)
    moved = table - 0.1 * summed / (np.sqrt(expected)[:, None] + 1e-10)
    assert np.allclose(new_accumulator, expected, atol=1e-6)
    assert np.allclose(new, moved, atol=1e-5)
    assert np.array_equal(new[0], table[0])


def test_buckets_equal_the_published_ones():
    """Post age and dwell inputs of the original (May 2026)."""
    minutes = np.array([-1 / 60, 30, 120, 5_000], np.float32)
    assert np.asarray(post_age_bucket(minutes * 60, 60, 4_800)).tolist() == [0, 1, 3, 81]
    ratio = np.asarray(dwell_ratio(np.array([-1.0, 0, 15, 30, 60], np.float32), 30.0))
    assert np.allclose(ratio, [0, 0, np.log(16) / np.log(31), 1, 1], atol=1e-6)
    gaps = np.asarray(gap_bucket(np.array([-1, 0, 60, 180, 1e12], np.float32)))
    assert gaps.tolist() == [0, 1, 2, 3, 24]
