"""The same model comes out of one device and of eight, and no device holds a whole table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from phoenix.mesh import Layout

PROGRAM = Path(__file__).with_name("curve_program.py")
STEPS = 50


@pytest.mark.parametrize("kind", ["ranker", "retrieval"])
def test_eight_devices_train_as_one_and_share_the_tables(kind, parquet, start, finish):
    """A model must not depend on the machine that trained it, nor a table fit one device."""
    layouts = ("1:1", "8:1", "8:2")
    process = start(str(PROGRAM), str(parquet), kind, str(STEPS), *layouts, devices=8)
    found = json.loads(finish(process))
    one = found["1:1"]
    assert len(one["losses"]) == STEPS
    assert one["parts"] == [[130, 8]]
    assert one["losses"][-1] < one["losses"][0]
    for name in layouts[1:]:
        many = found[name]
        assert np.abs(np.array(many["losses"]) - one["losses"]).max() < 1e-4, name
        assert many["parts"] == [[17, 8]] * 8  # 130 rows and six to fill
        assert many["accumulator_parts"] == [[17]] * 8
        # What travels between devices, by shape: places and their rows, and never a table.
        assert many["gathered"]
        assert [s for s in many["gathered"] if s in ("130,8", "136,8", "136")] == []


def test_devices_that_are_not_there_are_said_so():
    """A mesh of fewer devices than asked for would silently train slower."""
    with pytest.raises(ValueError, match="9999 devices were asked for"):
        Layout.of(9_999)
    with pytest.raises(ValueError, match="do not divide"):
        Layout.of(1, 3)


def test_two_processes_train_as_one(parquet, start, finish, train_arguments, arrays, tmp_path):
    """Several hosts must train the model that one host would."""
    more = ("--steps", str(STEPS), "--devices", "1", "--seed", "3")
    alone = start(*train_arguments(tmp_path / "one", *more))
    finish(alone)
    port = _free_port()
    shared = [
        start(
            *train_arguments(
                tmp_path / "two", "--steps", str(STEPS), "--seed", "3", "--checkpoint-every", "20",
                "--coordinator", f"127.0.0.1:{port}", "--num-processes", "2",
                "--process-id", str(number),
            ),
            devices=4,
        )
        for number in range(2)
    ]  # fmt: skip
    first, second = (finish(process) for process in shared)
    # The collectives' library (Gloo) says on standard output who is connected, in pieces.
    first, second = (
        [line for line in said.splitlines() if "[Gloo]" not in line and "peer ranks" not in line]
        for said in (first, second)
    )
    assert json.loads(first[-1])["devices"] == 8
    assert second == []  # the first one speaks, and writes
    assert [path.name for path in sorted((tmp_path / "two").glob("0*"))] == [
        "000001-20",
        "000002-40",
        "000003-50",
    ]
    curves = [json.loads((tmp_path / name / "curves.json").read_text()) for name in ("one", "two")]
    losses = [np.array([point["loss"] for point in curve]) for curve in curves]
    assert len(losses[0]) == STEPS // 10
    assert np.abs(losses[0] - losses[1]).max() < 1e-4
    one, two = arrays(tmp_path / "one"), arrays(tmp_path / "two")
    assert {key: value.shape for key, value in one.items()} == {
        key: value.shape for key, value in two.items()
    }


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
