"""A training that is killed at any moment goes on as if it had not been."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

STEPS = ("--steps", "60", "--checkpoint-every", "10")
AVERAGED = ("--average-decay", "0.9")
HOST_TABLES = ("--host-table-mb", "0")


@pytest.mark.parametrize(
    ("more", "devices"),
    [((), 1), (("--optimizer", "muon"), 1), (AVERAGED, 8), (HOST_TABLES, 1)],
    ids=["adamw", "muon", "mesh of eight, averaged", "host tables"],
)
def test_kill_9_and_resume_equals_never_killed(
    more, devices, start, finish, train_arguments, arrays, tmp_path
):
    """A pre-empted machine must not change a model: not by a bit."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    if more == HOST_TABLES:  # the runs come one after the other: each begins this anew
        more = (*more, "--host-tables", str(tmp_path / "scratch"))
    finish(start(*train_arguments(whole, *STEPS, *more), devices=devices))

    victim = start(*train_arguments(killed, *STEPS, *more), devices=devices)
    _wait_for_a_write_after_the_first(killed, victim)
    victim.kill()
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL

    resumed = start(*train_arguments(killed, *STEPS, *more, "--resume"), devices=devices)
    result = json.loads(finish(resumed))
    assert result["steps"] == 60
    assert not list(killed.glob(".0*"))  # what the killed one left half written is gone
    assert len(list(killed.glob("0*"))) == 3  # the newest versions of the run, over both processes
    expected, found = arrays(whole), arrays(killed)
    assert expected.keys() == found.keys()
    assert [key for key in expected if not np.array_equal(expected[key], found[key])] == []


def test_sigterm_saves_and_says_how_to_go_on(start, train_arguments, tmp_path):
    """A machine that is taken away with notice loses nothing."""
    process = start(*train_arguments(tmp_path, "--steps", "1000000", "--checkpoint-every", "10"))
    _wait_for_a_write_after_the_first(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    printed, complaints = process.communicate(timeout=900)
    assert process.returncode == 0, complaints
    result = json.loads(printed)
    assert result["stopped"] is True
    assert result["checkpoint"].endswith(f"-{result['steps']}")
    assert (Path(result["checkpoint"]) / "state" / "position.json").is_file()
    assert "--resume" in complaints


def _wait_for_a_write_after_the_first(directory: Path, process) -> None:
    """Returns while the second version is being written, or right after."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if directory.is_dir() and any("000002-" in path.name for path in directory.iterdir()):
            return
        time.sleep(0.0005)
    pytest.fail(f"no second version in {directory} within 900 s")
