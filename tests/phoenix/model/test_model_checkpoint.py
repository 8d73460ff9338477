"""A checkpoint is complete or absent, and whatever is wrong with one is said before serving it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from phoenix import checkpoint as checkpoints
from phoenix.checkpoint import CheckpointError


@pytest.fixture
def directory(tmp_path, ranker_config, ranker_params):
    checkpoints.save(
        tmp_path, step=5, config=ranker_config, params=ranker_params, meta={"note": "x"}
    )
    return tmp_path


def test_what_was_saved_is_what_is_loaded(directory, ranker_config, ranker_params):
    """Serving must compute exactly what training measured."""
    config, loaded = checkpoints.load_ranker(directory)
    assert config == ranker_config
    saved, read = checkpoints.flatten(ranker_params), checkpoints.flatten(loaded.params)
    assert saved.keys() == read.keys()
    assert all(np.array_equal(saved[key], read[key]) for key in saved)
    assert (loaded.step, loaded.meta["note"]) == (5, "x")


def test_versions_name_step_and_content(directory, ranker_config, ranker_params):
    """Every response carries the version: other parameters must have another one."""
    first = checkpoints.load_latest(directory).model_version
    params = {**ranker_params, "tables": {k: v + 1 for k, v in ranker_params["tables"].items()}}
    checkpoints.save(directory, step=3, config=ranker_config, params=params, meta={})
    second = checkpoints.load_latest(directory).model_version
    assert first.endswith("-5")
    assert second.endswith("-3")
    assert first.split("-")[0] != second.split("-")[0]


def test_a_half_written_version_is_invisible(directory, ranker_config, ranker_params):
    """A reader that polls the directory while training dies must keep the last whole version."""
    before = checkpoints.latest(directory)

    def die(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(
            directory, step=9, config=ranker_config, params=ranker_params, meta={}, write_state=die
        )
    assert checkpoints.latest(directory) == before


def test_half_precision_is_read_back_as_float32(tmp_path, ranker_config, ranker_params):
    """Shipped checkpoints are float16 on disk only."""
    path = checkpoints.save(
        tmp_path, step=1, config=ranker_config, params=ranker_params, meta={},
        storage_dtype="float16",
    )  # fmt: skip
    table = checkpoints.load(path).params["tables"]["post"]
    assert table.dtype == np.float32
    assert np.abs(table - ranker_params["tables"]["post"]).max() < 0.01


def _edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", lambda v: v.update(format_version=99), "format 99"),
        ("config.json", lambda v: v["config"].update(model="Oracle"), "Oracle"),
        ("config.json", lambda v: v["config"].update(action_list_version=7), "version 7"),
        ("config.json", lambda v: v["config"].update(post_rows=9), "post"),
        ("meta.json", lambda v: v.update(params_sha256="0"), "damaged"),
    ],
)
def test_other_formats_models_and_damage_are_refused(directory, file, change, message):
    """A model that means something else would still produce numbers."""
    _edit(checkpoints.latest(directory) / file, change)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load_latest(directory)


def test_missing_files_and_empty_directories_say_what_to_do(directory, tmp_path):
    with pytest.raises(CheckpointError, match="train"):
        checkpoints.load_latest(tmp_path / "nothing")
    (checkpoints.latest(directory) / "params.npz").unlink()
    with pytest.raises(CheckpointError, match=r"params\.npz is missing"):
        checkpoints.load_latest(directory)


def test_a_ranker_is_not_taken_for_a_retrieval_model(directory):
    with pytest.raises(CheckpointError, match="expected a retrieval model"):
        checkpoints.load_retrieval(directory)
