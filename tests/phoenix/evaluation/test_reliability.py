"""Calibration errors and paired errors equal what they claim to estimate."""

import numpy as np
import pytest

from phoenix import metrics
from phoenix.evaluation.paired import compare_primary, log_loss_estimate
from phoenix.evaluation.reliability import calibration_error, reliability_curve

ROWS = 6_000


@pytest.fixture(scope="module")
def perfect():
    """(users, labels, probabilities) that come true."""
    rng = np.random.default_rng(0)
    probabilities = rng.beta(2, 5, ROWS)
    return np.arange(ROWS) // 2, rng.random(ROWS) < probabilities, probabilities


def test_perfect_probabilities_show_the_error_of_chance(perfect):
    """Without this, a perfect model on few rows would be sent back to be calibrated."""
    error = calibration_error(*perfect)
    assert 0 < error.value < 2 * error.chance
    rng = np.random.default_rng(1)
    users, _, values = perfect
    drawn = [calibration_error(users, rng.random(ROWS) < values, values).value for _ in range(40)]
    assert np.mean(drawn) == pytest.approx(error.chance, rel=0.1)
    assert error.stderr == pytest.approx(np.std(drawn), rel=0.6)


def test_each_binning_has_its_own_error_of_chance(perfect):
    """Fewer bins hold rows where widths are equal, so chance weighs less there."""
    rng = np.random.default_rng(2)
    users, _, values = perfect
    errors = [calibration_error(users, rng.random(ROWS) < values, values) for _ in range(40)]
    by_width = [error.equal_width for error in errors]
    assert np.mean(by_width) == pytest.approx(errors[0].equal_width_chance, rel=0.1)
    assert errors[0].equal_width_chance < errors[0].chance


def test_a_shift_is_the_error(perfect):
    """Probabilities that are .2 too high everywhere have an error of .2, in both binnings."""
    users, labels, probabilities = perfect
    error = calibration_error(users, labels, np.minimum(probabilities + 0.2, 1.0))
    assert error.value == pytest.approx(0.2, abs=0.01)
    assert error.equal_width == pytest.approx(0.2, abs=0.01)


def test_error_by_hand():
    """Two bins of equal mass: |1/2 − .2| and |1 − .7|, each over half of the rows."""
    labels, probabilities = [0, 1, 1, 1], [0.1, 0.3, 0.6, 0.8]
    error = calibration_error([1, 2, 3, 4], labels, probabilities, bins=2)
    assert error.value == pytest.approx((0.3 + 0.3) / 2)
    curve = reliability_curve(labels, probabilities, bins=2)
    np.testing.assert_allclose(curve.probabilities, [0.2, 0.7])
    np.testing.assert_allclose(curve.rates, [0.5, 1.0])
    assert curve.counts.tolist() == [2, 2]


def test_equal_probabilities_share_a_bin():
    """Else the order of rows in the file would decide the error."""
    curve = reliability_curve([0, 1, 0, 1, 1, 0], [0.5] * 6, bins=3)
    assert curve.counts.tolist() == [6]


def test_what_is_no_probability_is_refused():
    """Logits or a missing number would give a plausible error."""
    with pytest.raises(ValueError, match="probabilities in"):
        calibration_error([1, 2], [0, 1], [0.5, 2.0])
    with pytest.raises(ValueError, match="probabilities in"):
        reliability_curve([0, 1], [0.5, float("nan")])


@pytest.fixture(scope="module")
def two_models():
    """(users, labels, a good and a slightly worse score) that share most of their noise."""
    rng = np.random.default_rng(3)
    users = rng.integers(0, 400, 2_400)
    quality = rng.normal(size=2_400)
    labels = rng.random(2_400) < 1 / (1 + np.exp(-quality))
    return users, labels, {"good": quality, "worse": quality + 0.7 * rng.normal(size=2_400)}


def test_primaries_are_those_of_the_metric(two_models):
    """Errors are worth nothing beside another value than the one that is printed."""
    users, labels, scores = two_models
    found = compare_primary(users, labels, scores)
    for name, values in scores.items():
        assert found[name].value.value == pytest.approx(metrics.primary(users, labels, values))
    above = found["good"].above["worse"]
    assert above.value == pytest.approx(found["good"].value.value - found["worse"].value.value)
    assert above.value == -found["worse"].above["good"].value


def test_a_paired_difference_is_surer_than_its_parts(two_models):
    """Both models meet the same users; without pairing, no two could be told apart."""
    found = compare_primary(*two_models)
    apart = np.hypot(found["good"].value.stderr, found["worse"].value.stderr)
    assert 0 < found["good"].above["worse"].stderr < 0.9 * apart


def test_the_error_is_the_spread_of_other_users(two_models):
    """Drawing from the users must say what new users would have said."""
    rng = np.random.default_rng(4)
    values = []
    for _ in range(100):
        users = rng.integers(0, 400, 2_400)
        quality = rng.normal(size=2_400)
        labels = rng.random(2_400) < 1 / (1 + np.exp(-quality))
        values.append(metrics.primary(users, labels, quality))
    found = compare_primary(*two_models)["good"].value.stderr
    assert found == pytest.approx(np.std(values), rel=0.35)


def test_the_error_of_a_log_loss_counts_users_and_not_rows():
    """The same row ten times over is one observation."""
    labels, values = np.array([0, 1, 1, 0, 1]), np.array([0.2, 0.4, 0.9, 0.3, 0.5])
    one = log_loss_estimate(np.arange(5), labels, values)
    ten = log_loss_estimate(np.tile(np.arange(5), 10), np.tile(labels, 10), np.tile(values, 10))
    assert ten.value == pytest.approx(one.value) == pytest.approx(metrics.log_loss(labels, values))
    assert ten.stderr == pytest.approx(one.stderr)
