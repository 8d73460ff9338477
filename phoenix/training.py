"""Train a ranker or a retrieval model from impressions.

    train_ranker(impressions, ranker_preset("demo"), TrainingOptions(seconds=30), Path("ranker"))

writes versions (`phoenix.checkpoint`) and `curves.json` into the directory. With `resume=True` a
run that was killed goes on where its newest version stands. `stop` ends a run early, saved.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from phoenix.config import RankerConfig, RetrievalConfig
from phoenix.data.impressions import Impressions
from phoenix.tasks import RankerTask, RetrievalTask, Task
from phoenix.trainer import Trainer
from phoenix.training_options import Progress, TrainingOptions, TrainingResult


def train_ranker(
    impressions: Impressions,
    config: RankerConfig,
    options: TrainingOptions,
    directory: Path,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    monotonic_s: Callable[[], float] = time.monotonic,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train a ranker. ValueError: the data's actions differ from the model's, or no targets."""
    task = RankerTask.of(impressions, config, options)
    return _train(task, impressions, options, directory, progress, resume, monotonic_s, stop)


def train_retrieval(
    impressions: Impressions,
    config: RetrievalConfig,
    options: TrainingOptions,
    directory: Path,
    *,
    start: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    resume: bool = False,
    monotonic_s: Callable[[], float] = time.monotonic,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train two towers. ValueError: the data's actions differ, or nothing is a positive.

    `start`: parameters of a trained ranker, whose tables and trunk the towers begin with where
    shapes agree; a short training gains much by it.
    """
    task = RetrievalTask.of(impressions, config, options, start)
    return _train(task, impressions, options, directory, progress, resume, monotonic_s, stop)


def data_digest(impressions: Impressions) -> str:
    """SHA-256 of what a model was trained on, to compare checkpoints by."""
    digest = hashlib.sha256("\n".join(impressions.action_names).encode())
    for name in ("viewer_ids", "post_ids", "author_ids", "impressed_at_ms", "labels", "weight"):
        digest.update(np.ascontiguousarray(getattr(impressions, name)).tobytes())
    return digest.hexdigest()


def _train(
    task: Task,
    impressions: Impressions,
    options: TrainingOptions,
    directory: Path,
    progress: Progress | None,
    resume: bool,
    monotonic_s: Callable[[], float],
    stop: Callable[[], bool],
) -> TrainingResult:
    meta = {
        "impressions": len(impressions),
        "targets": int((impressions.weight > 0).sum()),
        "data_sha256": data_digest(impressions),
    }
    trainer = Trainer(
        task, options, directory, progress=progress, monotonic_s=monotonic_s, meta=meta, stop=stop
    )
    if resume:
        trainer.resume()
    return trainer.run()
