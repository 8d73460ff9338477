"""A training step of the ranker on synthetic impressions: the product's own step, one batch again
and again, its inputs on the device. Building batches is the host's work and not measured here.

Glossary: B contexts of a step, N impressions.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from phoenix.config import RankerConfig
from phoenix.data.impressions import Impressions
from phoenix.mesh import Layout
from phoenix.tasks import RankerTask
from phoenix.train_step import Step, StepInputs, StepReport, init_state
from phoenix.training_options import TrainingOptions

LIKED, CLICKED = 0.1, 0.3  # shares of impressions; any would do for speed
RATE, TABLE_RATE = np.float32(1e-3), np.float32(1e-2)


class TrainingTurn:
    """Call it for one step; the state goes on from step to step."""

    def __init__(self, config: RankerConfig, contexts: int, seed: int) -> None:
        options = TrainingOptions(steps=1, batch_size=contexts, seed=seed)
        impressions = synthetic_impressions(contexts * options.candidates, seed)
        task = RankerTask.of(impressions, config.with_actions(impressions.action_names), options)
        layout = Layout.of(1, 1)
        params = task.init(seed)
        batch = task.batches.next_batch()
        self.examples = int((batch.weight > 0).sum())
        inputs = task.inputs(batch, np.random.default_rng(seed))
        self._inputs = StepInputs(layout.place_batch(inputs), {})
        self._state = init_state(params, options, layout)
        self._step = Step(task, options, layout, params["dense"])

    def __call__(self) -> StepReport:
        """ValueError where a step's loss is not finite: its time would be nothing's."""
        self._state, report = self._step(self._state, self._inputs, RATE, TABLE_RATE)
        jax.block_until_ready(self._state)
        if not np.isfinite(report.loss):
            raise ValueError(f"the loss of a step is {report.loss}; expected a finite number")
        return report

    @property
    def flops(self) -> float | None:
        """Of a step, by XLA's count; None before the first one, or where there is none."""
        return self._step.flops


def synthetic_impressions(count: int, seed: int) -> Impressions:
    """N impressions of viewers who each see a few dozen posts, at about the order of a feed."""
    rng = np.random.default_rng(seed)
    liked, clicked = rng.random(count) < LIKED, rng.random(count) < CLICKED
    columns: dict[str, Any] = {
        "viewer_ids": rng.integers(1, max(count // 20, 1) + 1, count),
        "post_ids": rng.integers(1, count + 1, count),
        "author_ids": rng.integers(1, count // 10 + 2, count),
        "impressed_at_ms": np.sort(rng.integers(10**12, 10**12 + 10**6, count)),
    }
    return Impressions(
        **columns,
        product_surface=np.ones(count, np.int8),
        labels=np.stack([liked, clicked], axis=1).astype(np.float32),
        dwell_seconds=np.where(liked, 20.0, 2.0).astype(np.float32),
        action_names=("favorite", "click"),
        weight=np.ones(count, np.float32),
    )
