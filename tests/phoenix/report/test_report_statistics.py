"""A picture is only as true as the numbers under it: each equals a plain computation."""

from __future__ import annotations

import numpy as np
import pytest

from phoenix.metrics import auc
from phoenix.report import statistics
from phoenix.report.wording import ages, span, whole

RNG = np.random.default_rng(3)
SCORES = np.round(RNG.random(400), 2)  # with many ties
LABELS = (RNG.random(400) < SCORES).astype(np.int8)


def test_bins_hold_every_row_once_and_show_what_was_seen() -> None:
    """A reliability curve that loses rows would hide where the model is wrong."""
    curve = statistics.reliability(LABELS, SCORES)
    assert curve.count.sum() == len(LABELS)
    assert curve.observed @ curve.count == pytest.approx(LABELS.sum())
    assert curve.predicted @ curve.count == pytest.approx(SCORES.sum())
    assert (np.diff(curve.predicted) >= 0).all()


def test_a_shifted_prediction_has_the_shift_as_its_error() -> None:
    """The error of 0.2 too much everywhere is 0.2."""
    labels = np.tile([0, 1], 300).astype(np.int8)
    assert statistics.reliability(labels, np.full(600, 0.7)).error == pytest.approx(0.2, abs=0.02)


def test_rare_actions_get_fewer_bins() -> None:
    """Fifteen bins of one positive each show chance, not the model."""
    assert [statistics.bins_for(n) for n in (0, 40, 10_000)] == [3, 4, statistics.BINS]


def test_wilson_interval_is_the_published_one() -> None:
    """0 of 10: 0 to 0.2775 (Brown, Cai & DasGupta 2001); a normal interval would say 0 to 0."""
    low, high = statistics.wilson(np.array([0.0]), np.array([10]))
    assert low[0] == pytest.approx(0.0, abs=1e-12)
    assert high[0] == pytest.approx(0.2775, abs=1e-4)


def test_histograms_of_both_outcomes_add_up_to_one_and_take_zero_and_one() -> None:
    """Certain predictions have infinite log-odds and must still be counted."""
    shares = statistics.histogram(np.array([0, 1, 1], np.int8), np.array([0.0, 1.0, 0.5]))
    assert shares.negatives.sum() == pytest.approx(1.0)
    assert shares.positives.sum() == pytest.approx(1.0)


def test_slices_part_the_rows_and_say_their_borders() -> None:
    """Rows that fall between two parts, or into both, would make AUCs of nobody."""
    values = RNG.integers(0, 9, 400).astype(np.float64)
    parts = statistics.slices(values, LABELS, SCORES, whole)
    assert sum(part.rows for part in parts) == 400
    assert sum(part.positives for part in parts) == LABELS.sum()
    low, high = (float(text) for text in parts[1].label.split("–"))
    chosen = (values >= low) & (values <= high)
    assert parts[1].auc.value == pytest.approx(auc(LABELS[chosen], SCORES[chosen]))


def test_one_value_alone_is_one_slice() -> None:
    """A log in which nobody has a history is no error."""
    (part,) = statistics.slices(np.zeros(400), LABELS, SCORES, whole)
    assert (part.label, part.rows) == ("0", 400)


def test_operating_points_equal_counting_at_each_threshold() -> None:
    """Rows of equal score are let through together, or the curve would depend on their order."""
    curve = statistics.operating(LABELS, SCORES)
    order = RNG.permutation(400)
    again = statistics.operating(LABELS[order], SCORES[order])
    np.testing.assert_allclose(curve.recall, again.recall)
    expected = {
        (
            round(float((LABELS[t <= SCORES] == 0).sum() / (LABELS == 0).sum()), 9),
            round(float(LABELS[t <= SCORES].sum() / LABELS.sum()), 9),
        )
        for t in np.unique(SCORES)
    }
    points = zip(curve.false_positive_rate.round(9), curve.recall.round(9), strict=True)
    assert set(points) <= expected
    assert curve.recall[-1] == 1.0


def test_times_are_said_as_people_say_them() -> None:
    """900000 seconds under an axis would be read by nobody."""
    assert span(90) == "1.5 min"
    assert span(86_400) == "1 day"
    assert span(0) == "0 s"
    assert ages(60, 7_200) == "1 min–\n2 h"
