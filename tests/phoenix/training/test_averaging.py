"""A checkpoint may hold the mean of the last steps' parameters instead of the last ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from phoenix import checkpoint as checkpoints
from phoenix.config import ranker_preset
from phoenix.training import train_ranker
from phoenix.training_options import TrainingOptions

STEPS, DECAY = 12, 0.8


def test_a_checkpoint_holds_the_mean_of_the_last_steps(little_world, tmp_path: Path):
    """Whoever asks for averaged parameters must not be given the last batch's noise."""
    config = ranker_preset("nano").with_actions(little_world.action_names)
    every = TrainingOptions(steps=STEPS, batch_size=8, candidates=4, checkpoint_every_steps=1)
    train_ranker(little_world, config, every, tmp_path / "plain")
    averaged = TrainingOptions(steps=STEPS, batch_size=8, candidates=4, average_decay=DECAY)
    train_ranker(little_world, config, averaged, tmp_path / "mean")

    steps = [checkpoints.load(path).params for path in checkpoints.versions(tmp_path / "plain")]
    assert len(steps) == STEPS
    mean = steps[0]["dense"]
    for taken, params in enumerate(steps[1:], start=1):
        share = 1.0 - min(DECAY, taken / (taken + 1))
        mean = jax.tree.map(partial(_moved, share), mean, params["dense"])
    last = checkpoints.versions(tmp_path / "mean")[-1]
    found = checkpoints.load(last).params
    for expected, got, plain in zip(
        *map(jax.tree.leaves, (mean, found["dense"], steps[-1]["dense"])), strict=True
    ):
        assert np.allclose(expected, got, rtol=1e-4, atol=1e-5)
        assert np.size(got) < 100 or not np.allclose(got, plain, rtol=1e-4, atol=1e-5)
    for name, table in steps[-1]["tables"].items():  # the training itself is the same
        assert np.array_equal(table, found["tables"][name])


def _moved(share: float, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return old + share * (new - old)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_none_is_refused(decay: float):
    """At 1 the mean would never leave the first parameters."""
    with pytest.raises(ValueError, match="average_decay must be from 0 to below 1"):
        TrainingOptions(steps=1, average_decay=decay)
