"""`foryou eval sequential`: files in, a table out, and what wrong calls are told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from foryou.cli import run
from foryou.tuned_malloc import GUARD, SETTINGS, start_again_tuned

LINES = "".join(f"u{u} i{(u + 3 * k) % 12}\n" for u in range(30) for k in range(5))
QUICK = ["--preset", "nano", "--epochs", "1"]


def test_a_file_becomes_a_table_predictions_and_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command of the documentation, whole, as a program reads it."""
    data, predictions = tmp_path / "data.txt", tmp_path / "p.parquet"
    data.write_text(LINES)
    outputs = ["--predictions", str(predictions), "--checkpoint", str(tmp_path / "c"), "--json"]
    assert run(["eval", "sequential", "--data", str(data), *QUICK, *outputs]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in printed["rows"]][-1] == "model"
    assert {"HR@10", "NDCG@10", "HR@50", "NDCG@50", "HR@200", "NDCG@200"} < set(printed["rows"][0])
    assert predictions.is_file()
    assert "seed 0" in printed["outputs"]["predictions"]


def test_split_files_become_recall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The published protocol of collaborative filtering, with its own measures."""
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text(
        "".join(f"{u} " + " ".join(str((u + k) % 9) for k in range(5)) + "\n" for u in range(12))
    )
    test.write_text("".join(f"{u} {(u + 5) % 9} {(u + 6) % 9}\n" for u in range(11)))
    files = ["--protocol", "split", "--train", str(train), "--test", str(test)]
    assert run(["eval", "sequential", *files, *QUICK]) == 0
    text = capsys.readouterr().out
    assert "Recall@20" in text
    assert "model, refit" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "needs --data FILE"),
        (["--data", "missing.txt"], "is no file"),
        (["--protocol", "split", "--data", "x"], "--data is not for --protocol split"),
        (["--data", __file__, "--seeds", "0,0"], "expected different numbers"),
        (["--data", __file__, "--set", "loss=hinge"], "loss must be one of"),
        (["--data", __file__, "--preset", "huge"], "unknown preset"),
        (["--data", __file__, "--predictions", "."], "expected a file"),
    ],
)
def test_a_wrong_call_is_told_what_was_expected(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a training of an hour, not after it."""
    assert run(["eval", "sequential", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_the_command_starts_again_once_and_leaves_nothing_to_its_children() -> None:
    """Without the guard it would start for ever; with leftovers every child would be tuned."""
    started: list[dict[str, str]] = []
    command = ["python", "/bin/foryou", "eval", "sequential"]
    environment = {"JAX_PLATFORMS": "cpu", "MALLOC_TOP_PAD_": "7", "HOME": "/"}
    start_again_tuned(environment, command, lambda *a: started.append(a[2]))
    assert len(started) == 1
    assert started[0]["MALLOC_TOP_PAD_"] == "7"  # the user's own stays
    assert set(SETTINGS) < set(started[0])
    second = dict(started[0])
    start_again_tuned(second, command, lambda *a: started.append(a[2]))
    assert len(started) == 1
    assert second == environment
    assert GUARD not in second


def test_nothing_but_the_command_itself_is_started_again() -> None:
    """A program that calls foryou as a library must not be replaced."""
    started: list[object] = []
    start_again_tuned({"JAX_PLATFORMS": "cpu"}, ["python", "-m", "pytest"], started.append)  # type: ignore[arg-type]
    assert not started
