"""Windows and batches: every transition once, nothing made up."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from phoenix.sequential.batches import batch_lengths, epoch_batches, padded
from phoenix.sequential.config import SequentialConfig, SequentialTraining
from phoenix.sequential.interactions import Sequences

SEQUENCES = Sequences.of([list(range(1, 1 + n)) for n in (1, 2, 25, 26, 27, 60, 61, 121, 122, 300)])
CONFIG = SequentialConfig(300, history_length=60)


@pytest.mark.parametrize("windows", ["tiled", "shifted"])
def test_windows_lose_no_transition_and_train_on_each_once(windows: str) -> None:
    """A lost window would silently leave a heavy user's older taste untrained."""
    training = SequentialTraining(windows=windows, tokens_per_batch=240)  # type: ignore[arg-type]
    found = Counter[tuple[int, int]]()
    for batch in epoch_batches(SEQUENCES, CONFIG, training, np.random.default_rng(3)):
        there = batch.targets > 0
        assert (batch.history[there] > 0).all()
        found.update(zip(batch.history[there].tolist(), batch.targets[there].tolist(), strict=True))
    expected = Counter((a, a + 1) for row in SEQUENCES for a in row[:-1].tolist())
    assert found == expected


def test_newest_windows_hold_the_newest_transitions_alone() -> None:
    """The choice must do what it says: it is a line of the ablation."""
    training = SequentialTraining(windows="newest")
    batches = list(epoch_batches(SEQUENCES, CONFIG, training, np.random.default_rng(3)))
    assert sum(int((b.targets > 0).sum()) for b in batches) == int(
        np.minimum(np.maximum(SEQUENCES.lengths - 1, 0), 60).sum()
    )


def test_rows_are_right_anchored_and_batches_hold_as_many_tokens() -> None:
    """Positions count from the newest event: padding stands on the left."""
    training = SequentialTraining(tokens_per_batch=240)
    for batch in epoch_batches(SEQUENCES, CONFIG, training, np.random.default_rng(3)):
        assert batch.history.size <= 240
        assert batch.history.shape[1] in batch_lengths(60)
        present = batch.history > 0
        assert (np.diff(present.astype(int), axis=1) >= 0).all()
    assert padded([np.array([1, 2, 3], np.int32)], 2, 2).tolist() == [[2, 3], [0, 0]]


def test_sets_are_cut_into_what_is_known_and_what_is_to_be_found() -> None:
    """A target that is also an input would teach a model to repeat."""
    config = SequentialConfig(300, history_length=60, causal=False, positions="none")
    training = SequentialTraining(tokens_per_batch=240, left_out=0.3)
    rows = 0
    for batch in epoch_batches(SEQUENCES, config, training, np.random.default_rng(3)):
        for history, targets in zip(batch.history, batch.targets, strict=True):
            known, wanted = set(history[history > 0].tolist()), set(targets[targets > 0].tolist())
            assert not known & wanted
            assert bool(known) == bool(wanted)
            rows += bool(known)
    assert rows == int((SEQUENCES.lengths >= 2).sum())
