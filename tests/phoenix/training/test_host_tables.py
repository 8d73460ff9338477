"""Tables on the host train as those on a device do, however large, and a checkpoint has them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phoenix import checkpoint as checkpoints
from phoenix.checkpoint import CheckpointError
from phoenix.config import ranker_preset, retrieval_preset
from phoenix.host_tables import HostTables, open_host_tables
from phoenix.ranker import Ranker
from phoenix.table_files import copy_sparse
from phoenix.training import train_retrieval
from phoenix.training_options import TrainingOptions

OPTIONS = TrainingOptions(
    steps=12, batch_size=8, uniform_negatives=8, positive_actions=("favorite",)
)
# Prints how much memory a few steps took, with a table of 20 GB.
LARGE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from phoenix.config import ranker_preset
from phoenix.data.impressions import Impressions
from phoenix.training import train_ranker
from phoenix.training_options import TrainingOptions
impressions = Impressions.read_parquet(Path(sys.argv[1]))
config = ranker_preset(
    "nano", action_names=impressions.action_names, layers=1, post_rows=640_000_000
)
options = TrainingOptions(steps=4, batch_size=8, candidates=4, host_tables=sys.argv[2])
result = train_ranker(impressions, config, options, Path(sys.argv[3]))
# Not ru_maxrss, which a child takes over from the process that started it.
lines = Path("/proc/self/status").read_text().splitlines()
peak_mb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
print(json.dumps({"peak_mb": peak_mb, "path": str(result.checkpoint_path)}))
"""


def test_host_tables_learn_what_device_tables_learn(little_world, tmp_path, arrays):
    """Moving a table to the host must not change the model."""
    names = little_world.action_names
    start = Ranker(ranker_preset("nano", action_names=names, layers=1)).init(3)
    config = replace(retrieval_preset("nano", action_names=names), layers=1)
    train_retrieval(little_world, config, OPTIONS, tmp_path / "device", start=start)
    on_host = replace(OPTIONS, host_tables=str(tmp_path / "scratch"), host_table_mb_min=0.0)
    train_retrieval(little_world, config, on_host, tmp_path / "host", start=start)
    device, host = arrays(tmp_path / "device"), arrays(tmp_path / "host")
    assert device.keys() == host.keys()
    for key, expected in device.items():
        assert np.allclose(expected, host[key], atol=2e-4), key
    moved = np.abs(host["tables|post"] - np.asarray(start["tables"]["post"])).max()
    assert moved > 0.01
    loaded = checkpoints.load_latest(tmp_path / "host").params["tables"]["post"]
    assert isinstance(loaded, np.memmap)  # nobody reads it all to load the model


def test_a_table_of_twenty_gigabytes_takes_the_memory_of_its_touched_rows(
    parquet, tmp_path, start, finish
):
    """The reason for host tables: more rows than memory holds."""
    process = start("-c", LARGE, str(parquet), str(tmp_path / "scratch"), str(tmp_path / "out"))
    found = json.loads(finish(process))
    written = Path(found["path"]) / "tables" / "post.rows"
    assert written.stat().st_size == 640_000_000 * 8 * 4
    assert written.stat().st_blocks * 512 < 200e6
    assert found["peak_mb"] < 3_000


def test_a_row_is_drawn_the_same_until_a_gradient_reaches_it(tmp_path):
    """A row that changed between two reads would be noise that nothing can learn from."""
    tables = HostTables(tmp_path, {"post": (1_000, 16)}, seed=7)
    everything = np.arange(1_000, dtype=np.int32)
    first = tables.read({"post": (everything,)})["post"].rows[:1_000]
    assert np.array_equal(first, tables.read({"post": (everything,)})["post"].rows[:1_000])
    assert (first[0] == 0).all()
    assert abs(first[1:].mean()) < 0.005
    assert 0.095 < first[1:].std() < 0.105
    twice = tables.read({"post": (np.array([[5, 0], [5, 9]]),)})["post"]
    assert np.array_equal(twice.rows[twice.places[0][0, 0]], first[5])
    gradients = np.zeros_like(twice.rows)
    gradients[twice.places[0][0, 0]] = 2.0
    tables.update({"post": gradients}, 0.1)
    after = tables.read({"post": (everything,)})["post"].rows[:1_000]
    assert np.allclose(after[5], first[5] - 0.1)  # AdaGrad's first step has the rate's length
    changed = (after != first).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [5]


def test_a_damaged_or_missing_table_is_not_gone_on_from(tmp_path):
    """Training on from half a table would look like a bad model, not like a bad disk."""
    shapes = {"post": (5_000, 16)}
    tables = HostTables(tmp_path / "scratch", shapes, seed=7)
    tables.begin_with("post", np.ones((5_000, 16), np.float32))
    version = tmp_path / "version"
    version.mkdir()
    tables.write(version)
    HostTables(tmp_path / "other", shapes, seed=7).restore(version)
    with (version / "tables" / "post.rows").open("r+b") as file:
        file.seek(40_000)
        file.write(b"\x01")
    with pytest.raises(CheckpointError, match="damaged"):
        HostTables(tmp_path / "other", shapes, seed=7).restore(version)
    with pytest.raises(CheckpointError, match="--host-tables"):
        HostTables(tmp_path / "third", {"author": (10, 16)}, seed=7).restore(version)


def test_copies_skip_holes_and_keep_every_byte(tmp_path):
    """A checkpoint of a mostly empty table must be small, and right."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(50_000_000)
        for at in (0, 16_383, 16_384, 30_000_000, 49_999_990):
            file.seek(at)
            file.write(b"row")
    digest = copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 1_000_000
    assert copy_sparse(target, tmp_path / "again") == digest


def test_small_tables_stay_on_the_device(tmp_path):
    """A table that fits is faster where the computation is."""
    config = ranker_preset("nano")
    options = TrainingOptions(steps=1, host_tables=str(tmp_path))
    assert open_host_tables(config, options) is None
    assert open_host_tables(config, replace(options, host_tables=None)) is None
    one = open_host_tables(config, replace(options, host_table_mb_min=0.004))
    assert one is not None
    assert one.names == ("post",)
