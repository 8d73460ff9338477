"""A feed that became 15 % dearer must fail the check; a busy machine must not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.budget import MARGIN, Ratio, measure_ratio, verdict
from benchmarks.budget.__main__ import BASELINE, main

FEED_S, CALIBRATION_S = 0.004, 0.010
BASE = FEED_S / CALIBRATION_S
SEEDS = range(20)


class Machine:
    """A clock of processor time on a machine that is now and then slower, for both sides alike."""

    def __init__(self, seed: int, feed_s: float) -> None:
        self._rng = np.random.default_rng(seed)
        self._feed_s = feed_s
        self._now_s, self._slower = 0.0, 1.0

    def clock_s(self) -> float:
        return self._now_s

    def feed(self) -> None:
        self._spend(self._feed_s)

    def calibration(self) -> None:
        self._spend(CALIBRATION_S)

    def _spend(self, seconds: float) -> None:
        if self._rng.random() < 0.05:  # somebody else comes or goes
            self._slower = 1.0 + self._rng.random()
        burst = 3.0 if self._rng.random() < 0.05 else 1.0
        self._now_s += seconds * self._slower * burst * self._rng.gamma(400.0, 1 / 400.0)


def measured(seed, feed_s):
    machine = Machine(seed, feed_s)
    return measure_ratio(machine.feed, machine.calibration, machine.clock_s, turns=160)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_passes_and_a_planted_fifth_does_not(seed):
    assert verdict(measured(seed, FEED_S), BASE) == ""
    assert "--update" in verdict(measured(seed, 1.2 * FEED_S), BASE)


def test_what_fails_is_said_in_figures():
    found = Ratio(0.8, 0.01, 160)
    assert "+100% against the committed 0.400" in verdict(found, 0.4)
    assert verdict(found, 0.8 / (1 + MARGIN) * 1.001) == ""


def test_the_stated_spread_covers_most_repeated_runs():
    covered = [abs(run.value - BASE) <= run.spread for run in (measured(s, FEED_S) for s in SEEDS)]
    assert np.mean(covered) >= 0.7


def test_the_real_feed_is_measured_and_its_baseline_can_be_renewed(tmp_path):
    """A baseline of a tenth of the cost stands for a regression of ten times."""
    path = tmp_path / "baseline.json"
    assert main(["--update", "--turns", "16"], path) == 0
    renewed = json.loads(path.read_text())
    assert renewed["ratio"] > 0
    assert renewed["machine"]["cores"] >= 1
    path.write_text(json.dumps({"ratio": renewed["ratio"] / 10}))
    assert main(["--turns", "16"], path) == 1
    assert json.loads(BASELINE.read_text())["ratio"] > 0  # the committed one is there


def test_one_turn_is_no_measurement():
    with pytest.raises(ValueError, match="turns is 1"):
        measure_ratio(int, int, float, turns=1)
