"""A tiny trained ranker with a tiny evaluation beside it, as `--keep` leaves them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phoenix.checkpoint import latest, load
from phoenix.config import ranker_preset
from phoenix.data.impressions import Impressions
from phoenix.evaluation.kept import Evaluated, write_evaluation
from phoenix.training import train_ranker
from phoenix.training_options import TrainingOptions

ACTIONS = ("favorite", "click", "report")
ROWS, VIEWERS = 800, 40
SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
FIRST_MS = 1_790_000_000_000


@pytest.fixture(scope="session")
def impressions() -> Impressions:
    """Posts with snowflake ids up to a day old; nobody reports anything."""
    rng = np.random.default_rng(0)
    at_ms = np.sort(FIRST_MS + rng.integers(0, 86_400_000, ROWS))
    created_ms = at_ms - rng.integers(1_000, 86_400_000, ROWS)
    labels = rng.random((ROWS, len(ACTIONS))) < (0.4, 0.2, 0.0)
    return Impressions(
        viewer_ids=rng.integers(1, VIEWERS + 1, ROWS),
        post_ids=(created_ms - SNOWFLAKE_EPOCH_MS) << 22,
        author_ids=rng.integers(1, 11, ROWS),
        impressed_at_ms=at_ms,
        product_surface=np.ones(ROWS, np.int8),
        labels=labels.astype(np.float32),
        dwell_seconds=np.full(ROWS, 3.0, np.float32),
        action_names=ACTIONS,
        weight=np.ones(ROWS, np.float32),
    )


@pytest.fixture(scope="session")
def trained(impressions: Impressions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one version and its curve."""
    directory = tmp_path_factory.mktemp("trained")
    config = ranker_preset("nano", layers=1).with_actions(ACTIONS)
    options = TrainingOptions(steps=20, batch_size=16, candidates=4, keep_state=False)
    train_ranker(impressions, config, options, directory)
    return directory


@pytest.fixture(scope="session")
def evaluated() -> Evaluated:
    """Raw predictions that are twice too high; one post in four has no age."""
    rng = np.random.default_rng(1)
    truth = np.column_stack([rng.beta(2, 3, ROWS), rng.beta(1, 9, ROWS), np.full(ROWS, 0.001)])
    age = rng.integers(0, 10**6, ROWS).astype(np.float64)
    labels = rng.random(truth.shape) < truth
    labels[:, 2] = False
    return Evaluated(
        action_names=ACTIONS,
        viewer_ids=rng.integers(1, VIEWERS + 1, ROWS),
        post_ids=rng.integers(1, 10**6, ROWS),
        time_ms=np.arange(ROWS),
        history_count=rng.integers(0, 60, ROWS),
        post_age_seconds=np.where(rng.random(ROWS) < 0.25, np.nan, age),
        labels={name: labels[:, index] for index, name in enumerate(ACTIONS)},
        probabilities=truth,
        raw=np.minimum(2 * truth, 1.0),
    )


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(trained, tmp_path / "ranker")


@pytest.fixture
def keep(checkpoint: Path, evaluated: Evaluated) -> Callable[..., Path]:
    """Writes an evaluation, changed as given, beside the checkpoint; returns the directory."""

    def write(**changes: object) -> Path:
        version = latest(checkpoint)
        assert version is not None
        result = {
            "primary": 0.61,
            "popularity_primary": 0.52,
            "protocol": {"test": "last day", "model_version": load(version).model_version},
        }
        write_evaluation(checkpoint, replace(evaluated, **changes), result)  # type: ignore[arg-type]
        return checkpoint

    return write
