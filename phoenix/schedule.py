"""How much of a training's budget is spent, and the rates that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from phoenix.training_options import TrainingOptions

TABLE_RATE_FLOOR = 0.1  # the tables' rate falls to this share: AdaGrad already slows by itself


@dataclass(slots=True)
class Schedule:
    """The budget of steps and seconds, over all runs that this one continues."""

    options: TrainingOptions
    monotonic_s: Callable[[], float]
    started: float
    before_seconds: float = 0.0  # spent by the runs before this one

    @property
    def elapsed_seconds(self) -> float:
        return self.before_seconds + self.monotonic_s() - self.started

    def fraction(self, steps: int) -> float:
        """Of the budget that is spent, by whichever limit is nearer."""
        options = self.options
        by_steps = steps / options.steps if options.steps else 0.0
        by_seconds = self.elapsed_seconds / options.seconds if options.seconds else 0.0
        return max(by_steps, by_seconds)

    def rates(self, steps: int) -> tuple[Any, Any]:
        """Of dense parameters and of tables: linear warm-up, then half a cosine over the budget."""
        options, fraction = self.options, min(self.fraction(steps), 1.0)
        warm = min(1.0, (steps + 1) / max(options.warmup_steps, 1))
        cosine = 0.5 * (1.0 + math.cos(math.pi * fraction))
        floor = options.final_rate_fraction
        dense = options.learning_rate * warm * (floor + (1.0 - floor) * cosine)
        table_share = TABLE_RATE_FLOOR + (1.0 - TABLE_RATE_FLOOR) * cosine
        return np.float32(dense), np.float32(options.table_learning_rate * table_share)

    def remaining_seconds(self, steps: int) -> float:
        """Left, if it goes on as it went."""
        fraction = min(self.fraction(steps), 1.0)
        return self.elapsed_seconds * (1.0 - fraction) / fraction if fraction else math.inf
