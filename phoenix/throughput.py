"""How fast a training goes: examples, tokens, step times, and how long devices waited for input.

A step's time is taken from one loop to the next; its loss is awaited one step later, so in a long
run these are the devices' times. Waiting is bounded from above: a batch whose building ended with
nothing left to compute counts with the whole time of its building.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from phoenix.training_options import Throughput

WARM_STEPS = 2  # the first compiles, the second fills caches


@dataclass(slots=True)
class Meter:
    """Counts steps, one `add` each."""

    seconds: list[float] = field(default_factory=list)
    _examples: list[int] = field(default_factory=list)
    _tokens: list[int] = field(default_factory=list)
    _waited: list[float] = field(default_factory=list)

    def add(self, seconds: float, waited_seconds: float, size: tuple[int, int]) -> None:
        """`size`: examples and tokens (`batch_size`)."""
        self.seconds.append(seconds)
        self._waited.append(waited_seconds)
        self._examples.append(size[0])
        self._tokens.append(size[1])

    def throughput(self, devices: int, flops_per_step: float | None) -> Throughput | None:
        """None before the first step; a short run counts its compilation."""
        start = WARM_STEPS if len(self.seconds) > WARM_STEPS else 0
        seconds = np.array(self.seconds[start:])
        if not len(seconds) or not seconds.sum() > 0:
            return None
        p50, p99 = np.percentile(seconds, [50, 99])
        total = float(seconds.sum())
        return Throughput(
            devices=devices,
            examples_per_second=sum(self._examples[start:]) / total,
            tokens_per_second=sum(self._tokens[start:]) / total,
            step_ms_p50=float(p50) * 1_000,
            step_ms_p99=float(p99) * 1_000,
            input_wait_share=sum(self._waited[start:]) / total,
            flops_per_step=flops_per_step,
        )


def batch_size(batch: Any) -> tuple[int, int]:
    """(examples, tokens) of a ranker's or a retrieval's batch, padding left out."""
    weighted = np.asarray(batch.weight) > 0
    mask = np.asarray(batch.history_mask)
    viewers = int(weighted.reshape(len(mask), -1).any(axis=1).sum())
    examples = int(weighted.sum())
    return examples, viewers + int(mask.sum()) + examples
