"""A training that is killed must have something to go on from, and say what programs can read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from foryou.cli import run
from phoenix.data.impressions import Impressions

ROWS = 200


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "impressions.parquet"
    Impressions(
        viewer_ids=rng.integers(1, 9, ROWS),
        post_ids=rng.integers(1, 50, ROWS),
        author_ids=rng.integers(1, 9, ROWS),
        impressed_at_ms=np.arange(1, ROWS + 1) * 1_000,
        product_surface=np.ones(ROWS, np.int8),
        labels=(rng.random((ROWS, 1)) < 0.3).astype(np.float32),
        dwell_seconds=np.full(ROWS, np.nan, np.float32),
        action_names=("favorite",),
        weight=np.ones(ROWS, np.float32),
    ).write_parquet(path)
    return path


def test_checkpoints_are_written_on_the_way_and_resumed_from(
    parquet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without them `--resume` after a crash starts again from the first step."""
    out = tmp_path / "out"
    command = ["train", "ranker", "--parquet", str(parquet), "--out", str(out), "--json"]
    command += ["--preset", "nano", "--steps", "4", "--checkpoint-every", "2"]
    assert run(command) == 0
    assert sorted(path.name for path in out.glob("0*")) == ["000001-2", "000002-4"]
    capsys.readouterr()

    assert run([*command, "--resume"]) == 0
    printed = capsys.readouterr().out
    # No step was left to take, so none was timed: NaN would be no JSON.
    result = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert result["steps"] == 4
    assert result["step_ms"] is None
