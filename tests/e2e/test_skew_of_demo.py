"""What the demo served is what training sees; a planted difference is found in the same log."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phoenix.data.join import TRAINING_TOPICS
from phoenix.evaluation.skew import check_skew
from phoenix.evaluation.skew_log import SkewLog, read_skew_log
from service_kit.embedded_log import EmbeddedLogSource

pytestmark = pytest.mark.e2e
CHECK_SECONDS_MAX = 300


def skew_log(data_dir: Path) -> SkewLog:
    async def read() -> SkewLog:
        source = EmbeddedLogSource(data_dir / "log", TRAINING_TOPICS)
        try:
            return await read_skew_log(source)
        finally:
            await source.close()

    return asyncio.run(read())


def test_the_skew_check_passes_on_the_demos_own_log(demo_run):
    """Training and serving must read one thing, or offline figures mean nothing."""
    command = [sys.executable, "-m", "foryou.cli", "eval", "skew", "--json"]
    run = subprocess.run(
        [*command, "--data-dir", str(demo_run.data_dir)],
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS_MAX,
    )
    assert run.returncode == 0, run.stderr + run.stdout
    report = json.loads(run.stdout)
    assert report["passed"]
    assert report["scored"] == report["equal"] >= 10
    assert report["probability_difference"] <= 1e-5


def test_a_skew_planted_in_the_demos_log_is_found(demo_run):
    """A check that cannot fail on real feeds would be of no use."""
    log = skew_log(demo_run.data_dir)
    for request, feed in log.feeds.items():
        milliseconds = feed.history.dwell_seconds * np.float32(1000)
        history = replace(feed.history, dwell_seconds=milliseconds)
        log.feeds[request] = replace(feed, history=history)
    report = check_skew(log, demo_run.data_dir / "checkpoints" / "ranker")
    assert "history_dwell_seconds" in report.differing
    assert any(reason.startswith("predictions") for reason in report.reasons())


def test_without_its_checkpoint_the_check_fails(demo_run):
    """A version that nobody kept cannot be vouched for."""
    command = [sys.executable, "-m", "foryou.cli", "eval", "skew"]
    other = demo_run.data_dir / "checkpoints" / "retrieval"
    run = subprocess.run(
        [*command, "--data-dir", str(demo_run.data_dir), "--ranker", str(other)],
        capture_output=True,
        text=True,
        timeout=CHECK_SECONDS_MAX,
    )
    assert run.returncode == 1
    assert "nothing to check" in run.stderr
