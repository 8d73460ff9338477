"""Negatives of a batch: drawn evenly from the catalogue, from the batch's targets, or both.

E_j, the expected number of draws of item j in a batch, is what log-Q correction needs: K / V for
even draws, K · f_j for targets of other rows, f_j being the item's share of all targets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix.sequential.config import SequentialTraining
from phoenix.sequential.interactions import Items, Sequences
from phoenix.sequential.losses import Negatives


class NegativeSampler:
    """Draws `training.negatives` items a batch; none for the full softmax."""

    def __init__(self, sequences: Sequences, num_items: int, training: SequentialTraining) -> None:
        counts = np.bincount(sequences.items, minlength=num_items + 1).astype(np.float64)
        self._frequency = counts / max(counts.sum(), 1.0)
        self._num_items = num_items
        size = training.negatives if training.loss != "full" else 0
        even = {"uniform": size, "in_batch": 0, "mixed": size // 2}[training.sampling]
        self._even, self._from_batch = even, size - even
        expected = self._even / num_items + self._from_batch * self._frequency
        self._log_expected = np.log(np.maximum(expected, 1e-12)).astype(np.float32)

    def draw(self, targets: Items, rng: np.random.Generator) -> Negatives:
        """Targets of a batch, 0 is none → negatives with the logs of their expected counts."""
        even = rng.integers(1, self._num_items + 1, self._even)
        from_batch = _from_batch(targets[targets > 0], self._from_batch, rng)
        items = np.concatenate([even, from_batch]).astype(np.int32)
        return Negatives(items, self._log_expected[items])


def _from_batch(present: Items, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
    if not count:
        return np.zeros(0, np.int32)
    return rng.choice(present, count).astype(np.int32)
