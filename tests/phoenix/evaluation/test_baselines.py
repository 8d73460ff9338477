"""The baselines learn what is there to be learned, and nothing of what they must not see."""

import dataclasses

import numpy as np
import pytest

from phoenix import metrics
from phoenix.evaluation.baselines import boosted, cooccurrence, factorisation
from phoenix.evaluation.baselines.examples import Examples, Task
from phoenix.evaluation.baselines.factorisation import FactorisationOptions
from phoenix.evaluation.baselines.statistics import key_index, rates_before
from phoenix.evaluation.baselines.suite import BASELINES, check_names, run_baselines

USERS, VIDEOS, TAGS, DAYS, PER_DAY = 60, 80, 4, 4, 1_500
ACTIONS = ("click", "long_view")


@pytest.fixture(scope="module")
def planted():
    """(Task, outcomes of the asked rows): whether a user's taste, one of four, meets the tag."""
    rng = np.random.default_rng(0)
    rows = DAYS * PER_DAY
    users, videos = rng.integers(0, USERS, rows), rng.integers(0, VIDEOS, rows)
    meets = users % TAGS == videos % TAGS
    day = np.repeat(np.arange(1, DAYS + 1), PER_DAY)
    labels = rng.random((rows, 2)) < np.where(meets, 0.8, 0.1)[:, None]
    unknown = np.full(rows, np.nan)
    examples = Examples(
        user_ids=users,
        video_ids=videos,
        author_ids=videos % 20 + 1,
        tags=np.stack([videos % TAGS + 1, np.zeros(rows, np.int64)], axis=1),
        tab=np.ones(rows, np.int64),
        hour=rng.integers(0, 24, rows),
        day=day,
        order=np.arange(rows),
        duration_seconds=unknown,
        age_days=unknown,
        user_features=np.zeros((rows, 0)),
        labels=labels.astype(np.float64),
    )
    asked = examples.take(day == DAYS)
    return Task(examples.take(day < DAYS), hidden(asked)), asked.labels


def hidden(rows):
    return rows.without_labels(np.ones(len(rows), np.bool_))


@pytest.fixture(scope="module")
def answers(planted):
    return run_baselines(planted[0], ACTIONS, BASELINES, seed=0)


@pytest.mark.parametrize(("name", "least"), [("fm", 0.8), ("lightgbm", 0.8)])
def test_an_interaction_is_learned_that_rates_cannot_see(planted, answers, name, least):
    """A baseline that cannot find this would be a straw man."""
    labels = planted[1][:, 1]
    rate = metrics.auc(labels, answers["user_item"].scores[:, 1])
    assert rate < 0.65
    assert metrics.auc(labels, answers[name].scores[:, 1]) > least


def test_co_occurrence_finds_videos_of_the_same_viewers(planted, answers):
    """Viewers of one taste view the same videos: counting must show it."""
    assert metrics.auc(planted[1][:, 1], answers["co_occurrence"].scores[:, 1]) > 0.7


def test_probabilities_are_probabilities(answers):
    """Log loss and calibration error are printed for those that say so, and for no other."""
    for name, answer in answers.items():
        assert np.isfinite(answer.scores).all()
        if answer.are_probabilities:
            assert ((answer.scores >= 0) & (answer.scores <= 1)).all()
        assert answer.are_probabilities == (name != "co_occurrence")


def test_a_later_outcome_changes_nothing(planted, answers):
    """The asked rows' outcomes are unknown to every baseline: planting them must do nothing."""
    task, labels = planted
    planted_future = dataclasses.replace(task.asked, labels=1 - labels)
    flipped = run_baselines(Task(task.known, planted_future), ACTIONS, BASELINES, seed=0)
    for name in BASELINES:
        np.testing.assert_array_equal(flipped[name].scores, answers[name].scores)


def test_rates_come_from_earlier_days_alone():
    """A rate that counts its own day tells the outcome that it is to predict."""
    index, day = np.zeros(6, np.int64), np.array([0, 0, 1, 1, 2, 3])
    labels = np.array([1, np.nan, 0, 1, 1, np.nan])
    rates, counts = rates_before(index, day, labels, day >= 1, smoothing=2.0)
    np.testing.assert_allclose(counts, [1, 1, 3, 4])
    np.testing.assert_allclose(rates, [1.0, 1.0, 2 / 3, 3 / 4])


def test_rates_are_unknown_where_nothing_is_known():
    """The first day has no day before it; 0 would be a claim."""
    rates, _ = rates_before(
        np.zeros(1, np.int64), np.ones(1, np.int64), np.ones(1), np.ones(1, np.bool_)
    )
    assert np.isnan(rates).all()


def test_keys_number_combinations():
    """Two columns that collided would share one rate."""
    index = key_index(np.array([5, 5, 9, 9]), np.array([1, 2, 1, 1]))
    assert len(set(index[:3])) == 3
    assert index[2] == index[3]


def test_counts_of_pairs_equal_brute_force():
    """The compiled count against its definition: viewers of both videos, each viewer once."""
    rng = np.random.default_rng(0)
    users, videos = rng.integers(0, 9, 60), rng.integers(0, 7, 60)
    found = cooccurrence.normalised_counts(users, videos, 9, 7)
    seen = [set(users[videos == v]) for v in range(7)]
    for one in range(7):
        for other in range(7):
            mass = (len(seen[one]) + 5) * (len(seen[other]) + 5)
            expected = 0 if one == other else len(seen[one] & seen[other]) / np.sqrt(mass)
            assert found[one, other] == pytest.approx(expected)


def test_the_machine_is_the_formula():
    """Pairs of features by brute force; the padding feature counts nothing."""
    rng = np.random.default_rng(0)
    weights, factors = rng.normal(size=9), rng.normal(size=(9, 3))
    machine = factorisation.Machine(
        np.array([0.3], np.float32), weights.astype(np.float32), factors.astype(np.float32)
    )
    row = np.array([[2, 5, 0, 8]], np.int32)
    used = [2, 5, 8]
    pairs = sum(factors[a] @ factors[b] for a in used for b in used if a < b)
    expected = 1 / (1 + np.exp(-(0.3 + weights[used].sum() + pairs)))
    np.testing.assert_allclose(factorisation._predict(machine, row), [expected], rtol=1e-4)


def test_an_action_that_nobody_took_is_left_out(planted):
    """No answer is better than one that was fitted on nothing."""
    task = planted[0]
    labels = task.known.labels.copy()
    labels[:, 0] = 0.0
    known = dataclasses.replace(task.known, labels=labels)
    silent = Task(known, task.asked)
    assert list(factorisation.fit_predict(silent, ACTIONS, FactorisationOptions(), 0)) == [
        "long_view"
    ]
    assert boosted.fit_predict(silent, ACTIONS, 0, 0) is None


def test_an_unknown_baseline_is_named():
    """A typing error must not measure fewer baselines in silence."""
    with pytest.raises(ValueError, match="no baseline 'lightbgm'; there are popularity"):
        check_names(["lightbgm"])
