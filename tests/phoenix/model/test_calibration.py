"""Calibration: probabilities come true, the order within a head stays, versions tell them apart."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix import checkpoint as checkpoints
from phoenix.calibration import (
    Calibration,
    Head,
    at_level,
    fit,
    fit_kind,
    pool_adjacent_violators,
    to_logits,
    to_probabilities,
)
from phoenix.config import ranker_preset
from phoenix.ranker import Ranker

ROWS = 4_000


def brute_isotonic(values, weights):
    """max over starts of min over ends of the mean between (Barlow et al. 1972)."""
    n = len(values)
    mean = {
        (i, j): np.average(values[i : j + 1], weights=weights[i : j + 1])
        for i in range(n)
        for j in range(i, n)
    }
    return [max(min(mean[i, j] for j in range(k, n)) for i in range(k + 1)) for k in range(n)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), min_size=1, max_size=9))
@settings(max_examples=150)
def test_pooling_equals_the_min_max_formula(rows):
    """A wrong pooling would map probabilities to rates that nobody saw."""
    values, weights = (np.array(c, dtype=float) for c in zip(*rows, strict=True))
    np.testing.assert_allclose(
        pool_adjacent_violators(values, weights), brute_isotonic(values, weights), atol=1e-12
    )


@pytest.fixture(scope="module")
def shifted():
    """(users, labels, raw probabilities twice as likely as the truth)."""
    rng = np.random.default_rng(0)
    truth = rng.normal(-1.5, 1.0, ROWS)
    labels = rng.random(ROWS) < to_probabilities(truth)
    return rng.integers(0, 800, ROWS), labels, to_probabilities(truth + np.log(2))


def test_a_shift_of_the_odds_is_found(shifted):
    """The drift of base rates from day to day is what calibration has to mend."""
    users, labels, raw = shifted
    choice = fit(users, labels, raw)
    assert choice.head.kind != "identity"
    found = to_probabilities(choice.head(to_logits(raw)))
    assert found.mean() == pytest.approx(labels.mean(), abs=0.004)
    assert min(choice.log_losses, key=choice.log_losses.get) == choice.head.kind


def test_what_is_calibrated_already_stays_nearly_as_it_is():
    """A map that follows noise would make good probabilities worse."""
    rng = np.random.default_rng(1)
    truth = rng.normal(-1.0, 1.0, ROWS)
    labels = rng.random(ROWS) < to_probabilities(truth)
    choice = fit(np.arange(ROWS), labels, to_probabilities(truth))
    found = to_probabilities(choice.head(truth))
    assert np.abs(found - to_probabilities(truth)).mean() < 0.02


def test_a_bend_needs_the_isotonic_map():
    """Two parameters cannot follow rates that saturate."""
    rng = np.random.default_rng(2)
    truth = rng.normal(0.0, 2.0, 4 * ROWS)
    labels = rng.random(4 * ROWS) < np.clip(to_probabilities(truth), 0.05, 0.5)
    choice = fit(np.arange(len(labels)), labels, to_probabilities(truth))
    assert choice.head.kind == "isotonic"
    assert to_probabilities(choice.head(np.array([4.0])))[0] < 0.6


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_every_map_rises_strictly(shifted, kind):
    """Calibration must never reorder what a head ranks, nor make ties."""
    _, labels, raw = shifted
    head = fit_kind(kind, to_logits(raw), labels.astype(float))
    assert (np.diff(head(np.linspace(-25, 25, 20_001))) > 0).all()
    backwards = fit_kind(kind, -to_logits(raw), labels.astype(float))
    assert (np.diff(backwards(np.linspace(-25, 25, 2_001))) > 0).all()


def test_few_positives_move_a_map_little():
    """Six hates a day say nothing about a curve, and hardly anything about a level."""
    raw = np.full(ROWS, 0.001)
    raw[::2] = 0.0011
    labels = np.zeros(ROWS)
    labels[:12] = 1
    found = to_probabilities(fit_kind("platt", to_logits(raw), labels)(to_logits(raw)))
    assert 0.001 < found.mean() < 0.003
    assert fit(np.arange(ROWS), np.zeros(ROWS), raw).head.kind == "identity"


def test_probabilities_and_log_probabilities_agree(shifted):
    """The evaluation maps the first, serving the second."""
    users, labels, raw = shifted
    calibration = Calibration({"like": fit(users, labels, raw).head, "reply": Head()})
    names = ("reply", "like")
    table = np.stack([raw, raw], axis=1)
    found = calibration.probabilities(names, table)
    np.testing.assert_array_equal(found[:, 0], raw)
    assert np.abs(found[:, 1] - raw).max() > 0.05
    logs = calibration.log_probs(names, np.log(table).astype(np.float32))
    np.testing.assert_allclose(np.exp(logs), found, atol=1e-6)
    extremes = np.array([[0.0, 0.0], [-1e-9, -1e-9], [-80.0, -80.0]], np.float32)
    assert np.isfinite(calibration.log_probs(names, extremes)).all()
    assert (calibration.log_probs(names, extremes) <= 0).all()


def test_a_calibration_is_read_as_it_was_written(shifted):
    """Served and evaluated probabilities come from one file."""
    users, labels, raw = shifted
    calibration = Calibration({"like": fit(users, labels, raw).head})
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "format version None"),
        ('{"format_version": 9}', "format version 9"),
        ('{"format_version": 1}', "incomplete"),
        (
            '{"format_version": 1, "heads": {"a": {"kind": "isotonic", "slope": 1,'
            ' "inputs": [1, 0], "outputs": [0, 1]}}}',
            "must ascend",
        ),
    ],
)
def test_a_broken_calibration_is_refused(text, message):
    """Probabilities through half a map would look like any others."""
    with pytest.raises(ValueError, match=message):
        Calibration.from_json(text)


@pytest.fixture
def version(tmp_path):
    config = ranker_preset("nano")
    params = Ranker(config).init(0)
    return checkpoints.save(tmp_path, step=3, config=config, params=params, meta={"note": "kept"})


def test_a_calibrated_checkpoint_is_another_version(version):
    """Caches and logs are keyed by version: other probabilities need another name."""
    plain = checkpoints.load(version)
    assert plain.calibration.is_identity
    calibration = Calibration({"favorite": Head("platt", 0.5, (0.0,), (0.1,))})
    path = checkpoints.save_calibrated(version, calibration)
    loaded = checkpoints.load_latest(version.parent)
    assert (loaded.path, loaded.calibration, loaded.step) == (path, calibration, 3)
    assert loaded.model_version != plain.model_version
    assert loaded.meta["note"] == "kept"
    assert checkpoints.load(version).model_version == plain.model_version
    again = checkpoints.load(checkpoints.save_calibrated(path, calibration))
    assert again.model_version == loaded.model_version
    other = Calibration({"favorite": Head("platt", 0.6, (0.0,), (0.1,))})
    changed = checkpoints.load(checkpoints.save_calibrated(path, other))
    assert changed.model_version not in (loaded.model_version, plain.model_version)


def test_a_damaged_calibration_is_named(version):
    """A lost or changed file must not turn into the identity in silence."""
    path = checkpoints.save_calibrated(version, Calibration({"favorite": Head()}))
    file = path / "calibration.json"
    values = json.loads(file.read_text())
    values["heads"]["favorite"]["slope"] = 2.0
    file.write_text(json.dumps(values))
    with pytest.raises(checkpoints.CheckpointError, match=r"calibration.json is damaged"):
        checkpoints.load(path)
    file.unlink()
    with pytest.raises(checkpoints.CheckpointError, match=r"calibration.json is damaged"):
        checkpoints.load(path)


def test_a_map_takes_the_level_of_the_rows_and_keeps_its_shape():
    """Two trainings differ in level: the map of one would push the other away from its rate."""
    rng = np.random.default_rng(3)
    raw = rng.beta(2, 8, ROWS)
    labels = rng.random(ROWS) < to_probabilities(to_logits(raw) + 0.7)
    head = Head("isotonic", 0.9, (-3.0, -1.0, 0.5), (-2.5, -1.2, 0.3))
    moved = at_level(head, labels, raw)
    assert to_probabilities(moved(to_logits(raw))).mean() == pytest.approx(labels.mean(), abs=1e-9)
    shift = moved(to_logits(raw)) - head(to_logits(raw))
    np.testing.assert_allclose(shift, shift[0], atol=1e-12)
    identity = at_level(Head(), labels, raw)
    assert not Calibration({"favorite": identity}).is_identity


def test_rows_without_both_outcomes_say_nothing_of_a_level():
    """A rare action that nobody took on the last day would be switched off for ever."""
    assert at_level(Head(), np.zeros(5), np.full(5, 0.1)) == Head()
    assert at_level(Head(), [], []) == Head()
