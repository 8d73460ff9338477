"""Training learns, resumes to the step, and survives what is not finite."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phoenix import checkpoint as checkpoints
from phoenix.mesh import Layout
from phoenix.tasks import RankerTask, RetrievalTask, hide
from phoenix.train_step import Step, StepInputs, init_state
from phoenix.trainer import Trainer
from phoenix.training import train_ranker, train_retrieval
from phoenix.training_options import TrainingOptions

OPTIONS = TrainingOptions(steps=12, batch_size=8, candidates=4, checkpoint_every_steps=5)


@pytest.fixture(scope="module")
def config(two_action_config):
    return replace(two_action_config, layers=1)


def _arrays(directory):
    return checkpoints.flatten(checkpoints.load_latest(directory).params)


def test_killed_and_resumed_equals_never_killed(tmp_path, config, make_impressions):
    """A pre-empted machine must not change a model, nor make two runs incomparable."""
    impressions = make_impressions()
    train_ranker(impressions, config, OPTIONS, tmp_path / "whole")

    task = RankerTask.of(impressions, config, OPTIONS)
    killed, taken = Trainer(task, OPTIONS, tmp_path / "killed"), 0
    next_batch = task.batches.next_batch

    def dying():
        nonlocal taken
        taken += 1
        if taken == 8:
            raise KeyboardInterrupt
        return next_batch()

    task.batches.next_batch = dying
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    assert checkpoints.load_latest(tmp_path / "killed").step == 5
    result = train_ranker(impressions, config, OPTIONS, tmp_path / "killed", resume=True)

    assert result.steps == 12
    whole, resumed = _arrays(tmp_path / "whole"), _arrays(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    assert all(np.array_equal(whole[key], resumed[key]) for key in whole)
    curve = json.loads((tmp_path / "killed" / "curves.json").read_text())
    assert [point["step"] for point in curve] == sorted({point["step"] for point in curve})
    assert curve[-1]["step"] == 12


def test_a_directory_that_cannot_be_is_refused_before_the_first_step(
    tmp_path, config, make_impressions
):
    """A wrong path must not cost the hours that a training takes."""
    (tmp_path / "file").write_text("")
    events = []
    with pytest.raises(OSError, match="file"):
        train_ranker(
            make_impressions(), config, OPTIONS, tmp_path / "file" / "out", progress=events.append
        )
    assert events == []


def test_after_training_every_parameter_array_has_moved(tmp_path, config, make_impressions):
    """An array without gradient is a part of the model that does nothing."""
    options = replace(OPTIONS, checkpoint_every_steps=None, keep_state=False)
    events = []
    result = train_ranker(make_impressions(), config, options, tmp_path, progress=events.append)
    task = RankerTask.of(make_impressions(), config, options)
    before = checkpoints.flatten(task.init(options.seed))
    after = _arrays(tmp_path)
    assert [key for key in before if np.array_equal(before[key], after[key])] == []
    assert all((after[f"tables|{name}"][0] == 0).all() for name in ("user", "post", "author"))
    assert events[-1].fraction == 1.0
    assert events[-1].remaining_seconds == 0.0
    assert result.skipped_steps == 0


def test_a_step_that_is_not_finite_is_skipped_and_counted(config, make_impressions):
    """One bad batch must not destroy days of training."""
    task = RankerTask.of(make_impressions(), config, OPTIONS)
    params, layout = task.init(OPTIONS.seed), Layout.of(1)
    state = init_state(params, OPTIONS, layout)
    before = jax.tree.map(np.array, state)
    step = Step(task, OPTIONS, layout, params["dense"])
    *inputs, weight, rates = task.inputs(task.batches.next_batch(), np.random.default_rng(0))
    broken = (*inputs, np.full_like(weight, np.nan), rates)
    after, _ = step(state, StepInputs(broken, {}), jnp.float32(0.01), jnp.float32(0.1))
    assert int(after.skipped) == 1
    assert int(after.step) == 1
    same = jax.tree.map(np.array_equal, before.params, after.params)
    assert all(jax.tree.leaves(same))
    whole = StepInputs((*inputs, weight, rates), {})
    healthy, report = step(after, whole, jnp.float32(0.01), jnp.float32(0.1))
    assert int(healthy.skipped) == 1
    assert np.isfinite(float(report.loss))


def test_retrieval_learns_whose_posts_a_viewer_likes(tmp_path, retrieval_config, make_impressions):
    """Training has to lower the loss and say how it went."""
    config = replace(retrieval_config, action_names=("favorite", "click"), layers=1)
    options = TrainingOptions(
        steps=60, batch_size=32, uniform_negatives=16, positive_actions=("favorite",)
    )
    impressions = make_impressions(rows=1_500)
    result = train_retrieval(impressions, config, options, tmp_path)
    curve = json.loads((tmp_path / "curves.json").read_text())
    assert result.final_loss < curve[0]["loss"] - 0.1
    assert checkpoints.load_retrieval(tmp_path)[1].meta["targets"] == 1_500


def test_data_of_other_actions_is_refused(config, make_impressions, ranker_config):
    """Columns that mean other actions would train without complaint."""
    with pytest.raises(ValueError, match="with_actions"):
        RankerTask.of(make_impressions(), ranker_config, OPTIONS)
    with pytest.raises(ValueError, match="budget"):
        TrainingOptions()
    with pytest.raises(ValueError, match="batch_size"):
        TrainingOptions(steps=1, batch_size=0)


def test_resuming_another_configuration_is_refused(
    tmp_path, config, make_impressions, ranker_params, ranker_config
):
    """Parameters of another shape cannot go on."""
    checkpoints.save(tmp_path, step=1, config=ranker_config, params=ranker_params, meta={})
    with pytest.raises(checkpoints.CheckpointError, match="another configuration"):
        train_ranker(make_impressions(), config, OPTIONS, tmp_path, resume=True)


def test_hidden_ids_follow_seed_and_step(config, make_impressions):
    """A resumed run hides the same ids, and hiding really turns rows into padding."""
    hashes = np.ones((500, 2), np.int32)
    first = hide(hashes, 0.5, np.random.default_rng([1, 2]))
    assert np.array_equal(first, hide(hashes, 0.5, np.random.default_rng([1, 2])))
    assert 150 < (first[:, 0] == 0).sum() < 350
    assert (first[:, 0] == first[:, 1]).all()


def test_retrieval_needs_a_positive(retrieval_config, make_impressions):
    """Nothing to find is a mistake in the options, not an empty model."""
    config = replace(retrieval_config, action_names=("favorite", "click"))
    options = TrainingOptions(steps=1, positive_actions=("report",))
    with pytest.raises(ValueError, match="report"):
        RetrievalTask.of(make_impressions(), config, options)
