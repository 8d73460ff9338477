"""Trainings in processes of their own: with many devices, beside others, killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix import checkpoint as checkpoints
from phoenix.data.impressions import Impressions

COMMAND = "from foryou.cli import main; main()"
SECONDS_MAX = 900  # of one process: a bound on failure, on a machine that does much else


@pytest.fixture(scope="session")
def little_world() -> Impressions:
    """A viewer likes the authors whose number has the viewer's parity."""
    rows, rng = 600, np.random.default_rng(0)
    viewer, author = rng.integers(1, 21, rows), rng.integers(1, 11, rows)
    likes = rng.random(rows) < np.where(viewer % 2 == author % 2, 0.8, 0.1)
    return Impressions(
        viewer_ids=viewer,
        post_ids=rng.integers(1, 200, rows),
        author_ids=author,
        impressed_at_ms=np.sort(rng.integers(10**12, 10**12 + 10**8, rows)),
        product_surface=np.ones(rows, np.int8),
        labels=np.stack([likes, rng.random(rows) < 0.3], axis=1).astype(np.float32),
        dwell_seconds=np.where(likes, 20.0, 2.0).astype(np.float32),
        action_names=("favorite", "click"),
        weight=np.ones(rows, np.float32),
    )


@pytest.fixture(scope="session")
def parquet(little_world: Impressions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "impressions.parquet"
    little_world.write_parquet(path)
    return path


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts Python with `devices` host devices; compiles fast rather than well."""

    def begin(*arguments: str, devices: int = 1) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.fixture(scope="session")
def finish() -> Callable[[subprocess.Popen[str]], str]:
    """Waits for a process and returns what it printed; fails with what it complained of."""

    def end(process: subprocess.Popen[str]) -> str:
        try:
            printed, complaints = process.communicate(timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            printed, complaints = process.communicate()
            pytest.fail(f"nothing ended within {SECONDS_MAX} s: {printed}{complaints[-3_000:]}")
        assert process.returncode == 0, f"{printed}{complaints[-3_000:]}"
        return printed

    return end


@pytest.fixture(scope="session")
def train_arguments(parquet: Path) -> Callable[..., list[str]]:
    """`foryou train ranker` on the little world."""

    def arguments(out: Path, *more: str, model: str = "ranker") -> list[str]:
        command = ["-c", COMMAND, "train", model, "--parquet", str(parquet), "--preset", "nano"]
        return [*command, "--out", str(out), "--json", *more]

    return arguments


@pytest.fixture(scope="session")
def arrays() -> Callable[[Path], dict[str, np.ndarray[Any, Any]]]:
    """All parameters of the newest version in a directory."""
    return lambda path: checkpoints.flatten(checkpoints.load_latest(path).params)
