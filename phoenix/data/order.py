"""A resumable order of examples: a permutation for each (seed, epoch), cut into batches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


class EpochOrder:
    """Positions of `count` examples in batches of `batch_size`; the last of an epoch is shorter."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        if count < 1 or batch_size < 1:
            raise ValueError(f"no batch of {batch_size} can be made from {count} examples")
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0
        self.step = 0  # batches given so far, over all epochs
        self._next = 0
        self._permutation = self._shuffled()

    def _shuffled(self) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, self.epoch])
        return rng.permutation(self.count).astype(np.int64)

    @property
    def batches_per_epoch(self) -> int:
        return -(-self.count // self.batch_size)

    def take(self) -> NDArray[np.int64]:
        """The next batch's examples; starts the next epoch when one is used up."""
        if self._next >= self.count:
            self.epoch, self._next = self.epoch + 1, 0
            self._permutation = self._shuffled()
        chosen = self._permutation[self._next : self._next + self.batch_size]
        self._next += self.batch_size
        self.step += 1
        return chosen

    def state_dict(self) -> dict[str, int]:
        """Where the next batch starts, with what must be equal to go on from there."""
        return {
            "count": self.count,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "epoch": self.epoch,
            "step": self.step,
            "next": self._next,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a saved state; ValueError if it belongs to other data or settings."""
        for name in ("count", "batch_size", "seed"):
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"cannot resume: the saved state has {name} {state[name]}, this run "
                    f"{getattr(self, name)}; resume with the same data, batch size and seed"
                )
        self.epoch, self.step, self._next = state["epoch"], state["step"], state["next"]
        self._permutation = self._shuffled()
