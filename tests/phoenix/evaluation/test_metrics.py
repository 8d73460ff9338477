"""Metrics equal brute force and hand-computed numbers, ties included."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix import metrics

ROWS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 1), st.sampled_from([0.1, 0.2, 0.5, 0.9])),
    min_size=1,
    max_size=30,
)


def brute_auc(labels, scores):
    wins = [
        (p > n) + 0.5 * (p == n)
        for p, is_p in zip(scores, labels, strict=True)
        if is_p
        for n, is_n in zip(scores, labels, strict=True)
        if not is_n
    ]
    return np.mean(wins) if wins else float("nan")


def test_auc_of_a_hand_computed_case():
    """A wrong AUC would make every comparison of models wrong."""
    # Positives .8 .4, negatives .6 .4 .1: wins 3 + (0 + .5 + 1) of 6 pairs.
    assert metrics.auc([1, 0, 1, 0, 0], [0.8, 0.6, 0.4, 0.4, 0.1]) == pytest.approx(4.5 / 6)


def test_auc_of_one_label_is_undefined():
    """An undefined metric must not look like a coin toss."""
    assert np.isnan(metrics.auc([1, 1], [0.1, 0.2]))
    assert np.isnan(metrics.gauc([1, 2], [1, 0], [0.1, 0.2]))


@given(ROWS)
@settings(max_examples=200)
def test_auc_and_gauc_equal_brute_force(rows):
    """Ties and users with one label only are where fast formulas go wrong."""
    groups, labels, scores = (np.array(c) for c in zip(*rows, strict=True))
    np.testing.assert_allclose(metrics.auc(labels, scores), brute_auc(labels, scores))
    total, weights = 0.0, 0
    for group in set(groups):
        own = groups == group
        if 0 < labels[own].sum() < own.sum():
            total += brute_auc(labels[own], scores[own]) * labels[own].sum()
            weights += labels[own].sum()
    expected = total / weights if weights else float("nan")
    np.testing.assert_allclose(metrics.gauc(groups, labels, scores), expected)


def test_delong_equals_the_spread_of_repeated_samples():
    """The standard error must say how much the AUC moves from sample to sample."""
    rng = np.random.default_rng(0)
    labels = (np.arange(300) < 60).astype(int)
    draws = [metrics.auc_estimate(labels, rng.normal(size=300) + labels) for _ in range(400)]
    values, errors = np.array(draws).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_delong_by_its_definition():
    """Placement values by brute force: variance of each, divided by its count."""
    labels, scores = np.array([1, 1, 1, 0, 0, 0]), np.array([3, 2, 2, 2, 1, 0.5])
    pairs = np.array([[(p > n) + 0.5 * (p == n) for n in scores[3:]] for p in scores[:3]])
    variance = pairs.mean(1).var(ddof=1) / 3 + pairs.mean(0).var(ddof=1) / 3
    assert metrics.auc_stderr(labels, scores) == pytest.approx(np.sqrt(variance))


def test_gauc_stderr_shrinks_with_more_users():
    """Ten times the users of the same kind have an error √10 times smaller."""
    rng = np.random.default_rng(0)
    groups, labels, scores = rng.integers(0, 50, 600), rng.integers(0, 2, 600), rng.random(600)
    one = metrics.gauc_estimate(groups, labels, scores)
    many = [np.concatenate([groups + 50 * i for i in range(10)])]
    ten = metrics.gauc_estimate(many[0], np.tile(labels, 10), np.tile(scores, 10))
    assert ten.value == pytest.approx(one.value)
    assert ten.stderr == pytest.approx(one.stderr / np.sqrt(10))


def test_ndcg_of_hand_computed_users():
    """User 1 has its positive second, user 2 none (0), user 3 both positives on top (1)."""
    groups = [1, 1, 2, 2, 3, 3, 3]
    labels = [0, 1, 0, 0, 1, 1, 0]
    scores = [0.9, 0.1, 0.5, 0.4, 0.9, 0.8, 0.1]
    expected = (1 / np.log2(3) + 0 + 1) / 3
    assert metrics.ndcg_at_k(groups, labels, scores, 5) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.1, 0.5])), min_size=1, max_size=6))
@settings(max_examples=60)
def test_ndcg_of_ties_is_the_mean_over_all_their_orders(rows):
    """A constant score must not profit from the order that rows happen to have in the file."""
    labels, scores = (np.array(c) for c in zip(*rows, strict=True))
    k = 2
    values = []
    for order in permutations(range(len(rows))):
        if all(scores[a] >= scores[b] for a, b in pairwise(order)):
            dcg = sum(labels[i] / np.log2(r + 2) for r, i in enumerate(order[:k]))
            best = sum(1 / np.log2(r + 2) for r in range(min(k, labels.sum())))
            values.append(dcg / best if best else 0.0)
    result = metrics.ndcg_at_k(np.zeros(len(rows)), labels, scores, k)
    assert result == pytest.approx(np.mean(values))


def test_primary_is_the_mean_of_its_two_parts():
    """The published figures are on this scale."""
    rng = np.random.default_rng(1)
    groups, labels, scores = rng.integers(0, 9, 90), rng.integers(0, 2, 90), rng.random(90)
    parts = metrics.gauc(groups, labels, scores) + metrics.ndcg_at_k(groups, labels, scores, 5)
    assert metrics.primary(groups, labels, scores) == pytest.approx(parts / 2)


def test_log_loss_by_hand_and_bounded():
    """A sure mistake costs a lot, not infinity."""
    assert metrics.log_loss([1, 0], [0.8, 0.4]) == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)
    assert metrics.log_loss([1], [0.0]) == pytest.approx(-np.log(1e-7))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([2, 0], [0.1, 0.2], "0 or 1"),
        ([1, 0], [np.nan, 0.2], "finite"),
        ([1], [0.1, 0.2], "one row"),
    ],
)
def test_bad_input_is_refused(labels, scores, message):
    """A NaN score or a rating as label must not become a plausible number."""
    with pytest.raises(ValueError, match=message):
        metrics.auc(labels, scores)


def test_log_loss_refuses_logits():
    """Logits given for probabilities are the usual mistake."""
    with pytest.raises(ValueError, match="probabilities"):
        metrics.log_loss([1, 0], [2.0, -1.0])
