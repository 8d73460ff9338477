"""A checkpoint must not serve unless it is sound, and a bad one must not disturb the good one."""

import json
import shutil
import threading

import jax
import numpy as np
import pytest

from benchmarks.whole import costs
from phoenix.serving.loading import (
    ModelRefusedError,
    check_ranker,
    load_served_ranker,
    load_served_retrieval,
    made_up_candidates,
    made_up_context,
)
from phoenix.serving.reload import LOADING_THREAD, CheckpointWatcher, versions
from phoenix.serving.served import ServedRanker


@pytest.fixture
def installed():
    return []


@pytest.fixture
def watcher(tmp_path, shapes, installed, telemetry, clock):
    async def install(model):
        installed.append(model)

    def load(path, running):
        return load_served_ranker(path, shapes, running)

    return CheckpointWatcher("ranker", tmp_path, load, install, telemetry, clock, poll_seconds=1.0)


@pytest.fixture
def running(watcher, ranker):
    """A watcher that compiles nothing: it runs the session's model already."""
    watcher._running = ranker
    watcher._telemetry.model_info.labels("ranker", ranker.version).set(1)
    return watcher


async def test_a_new_version_is_swapped_in_and_compiles_nothing(
    running, checkpoints, ranker, tmp_path, installed, metrics
):
    assert not await running.check_once()
    checkpoints.save_ranker(tmp_path, seed=2)
    assert await running.check_once()
    assert installed[-1].programs is ranker.programs
    assert installed[-1].version != ranker.version
    assert not await running.check_once()
    assert metrics.value("reloads_total", model="ranker") == 1
    assert metrics.value("model_info", model="ranker", version=installed[-1].version) == 1


async def test_models_are_loaded_in_a_thread_that_says_so(running, checkpoints, ranker, tmp_path):
    """XLA's threads inherit the name: mathematics would be counted as the handling of messages."""
    names = []

    def load(path, before):
        names.append(threading.current_thread().name)
        return ranker

    running._load = load
    checkpoints.save_ranker(tmp_path, seed=2)
    assert await running.check_once()
    assert names[0].startswith(LOADING_THREAD)
    assert costs._kind(False, names[0][:15]) == costs.XLA


def poison_nan(params):
    params["dense"]["ranker"]["head_bias"][...] = np.nan
    return params


async def test_a_model_that_answers_nan_is_refused_once_and_the_old_one_goes_on(
    running, checkpoints, ranker, tmp_path, installed, metrics, caplog
):
    checkpoints.save_ranker(tmp_path, params=poison_nan(checkpoints.ranker_params(3)))
    assert not await running.check_once()
    assert running.running is ranker
    assert "not finite" in running.problem
    assert "not finite" in caplog.records[-1].reason
    for _ in range(2):  # refused once and for all
        assert not await running.check_once()
    assert metrics.value("reloads_refused_total", model="ranker", reason="ModelRefusedError") == 1
    checkpoints.save_ranker(tmp_path, seed=4)
    assert await running.check_once()
    assert len(installed) == 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "params.npz").write_bytes(b"x"), "damaged"),
        (lambda path: (path / "meta.json").unlink(), "meta.json is missing"),
        (lambda path: other_action_list(path / "config.json"), "action list version 99"),
    ],
)
async def test_a_damaged_or_foreign_version_is_refused_with_its_reason(
    running, checkpoints, tmp_path, damage, reason
):
    damage(checkpoints.save_ranker(tmp_path))
    assert not await running.check_once()
    assert reason in running.problem


def other_action_list(path):
    document = json.loads(path.read_text())
    document["config"]["action_list_version"] = 99
    path.write_text(json.dumps(document))


async def test_deleting_a_version_rolls_back_to_the_one_before(
    running, checkpoints, tmp_path, installed
):
    checkpoints.save_ranker(tmp_path, seed=1)
    newest = checkpoints.save_ranker(tmp_path, seed=2)
    await running.check_once()
    shutil.rmtree(newest)
    assert await running.check_once()
    assert [model.version.split("-")[1] for model in installed] == ["2", "1"]


async def test_a_disk_that_fails_is_tried_again(running, checkpoints, tmp_path, metrics):
    checkpoints.save_ranker(tmp_path)
    load, running._load = running._load, raise_oserror
    assert not await running.check_once()
    running._load = load
    assert await running.check_once()
    assert metrics.value("reloads_refused_total", model="ranker", reason="OSError") == 1


def raise_oserror(path, current):
    raise OSError("no such device")


def test_half_written_versions_are_not_seen(checkpoints, tmp_path):
    (tmp_path / ".000002-5.123").mkdir()
    path = checkpoints.save_ranker(tmp_path)
    assert versions(tmp_path) == [path]
    assert versions(path) == [path]
    assert versions(tmp_path / "absent") == []


class NeighbourDependent(ServedRanker):
    """A model with the original's fault: the slot of a candidate moves its score."""

    def score_one(self, cache, candidates, bucket):
        answer = ServedRanker.score_one(self, cache, candidates, bucket)
        slots = np.arange(len(answer.log_probs))[:, None] * 1e-3
        return answer._replace(log_probs=answer.log_probs - slots.astype(np.float32))


def test_a_model_whose_scores_depend_on_the_slot_is_refused(ranker):
    broken = NeighbourDependent(ranker.version, ranker.programs, ranker.params)
    with pytest.raises(ModelRefusedError, match="when reordered"):
        check_ranker(broken)


def test_the_wrong_kind_of_model_is_refused(checkpoints, shapes, tmp_path):
    path = checkpoints.save_retrieval(tmp_path)
    with pytest.raises(ValueError, match="retrieval model, expected a ranker"):
        load_served_ranker(path, shapes, None)


def test_towers_that_are_not_finite_are_refused(checkpoints, shapes, retrieval, tmp_path):
    params = checkpoints.retrieval_params(1)
    params["tables"]["post"][1:] = np.nan
    path = checkpoints.save_retrieval(tmp_path, params=params)
    with pytest.raises(ModelRefusedError, match="unit length"):
        load_served_retrieval(path, shapes, retrieval)


def test_the_check_speaks_for_itself_the_model_says_something(ranker):
    """The self-check would pass on a constant model, so the tests' model must not be one."""
    rng = np.random.default_rng(0)
    cache = ranker.encode(made_up_context(ranker.programs.config, rng))
    answer = ranker.score_one(cache, made_up_candidates(ranker.programs.config, rng, 64), 64)
    assert np.exp(answer.log_probs).std(axis=0).max() > 0.05
    assert jax.tree.leaves(ranker.params)
