"""The wide part as it is served: the machine's own formula, mixed into one head."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from phoenix.checkpoint import load_ranker
from phoenix.config import ranker_preset
from phoenix.data.wide import wide_tables
from phoenix.features import ranker_inputs
from phoenix.ranker import Ranker
from phoenix.serving.buckets import Shapes
from phoenix.serving.programs import compile_ranker
from phoenix.training import train_ranker
from phoenix.training_options import TrainingOptions
from phoenix.wide import wide_table_shapes

WIDE = {"wide_action": "favorite", "wide_width": 3, "tag_rows": 16, "durations": True}


def lively(ranker, seed=0):
    """Parameters of which none is at its beginning."""
    rng = np.random.default_rng(seed)
    params = ranker.init(seed)
    params["tables"] = {
        name: np.float32(np.asarray(table) + 0.3 * rng.standard_normal(table.shape))
        * (np.arange(len(table)) > 0)[:, None]
        for name, table in params["tables"].items()
    }
    return params


@pytest.fixture
def asked(make_raw):
    """(Configuration, parameters, inputs) with tags and durations, some unknown."""
    config = ranker_preset("nano", **WIDE)
    raw, rng = make_raw(config), np.random.default_rng(4)
    shown = raw.candidate_post_ids.shape
    raw.candidate_tags = rng.integers(0, 9, (*shown, 2))
    raw.candidate_duration_seconds = rng.integers(-1, 90, shown).astype(np.float32)
    raw.viewer_ids[0] = 0
    return config, lively(Ranker(config)), ranker_inputs(config, raw)


def plain_wide(params, context, candidates, b, c):
    """The formula at the top of `phoenix.wide`, pair by pair."""
    tables = params["tables"]
    seconds = candidates.duration_seconds[b, c]
    bucket = 0 if seconds < 0 else int(np.floor(2 * np.log2(1 + seconds))) + 1
    used = [
        tables["user_wide"][context.user_hashes[b, 0]],
        tables["post_wide"][candidates.post_hashes[b, c, 0]],
        tables["author_wide"][candidates.author_hashes[b, c, 0]],
        *(tables["tag_wide"][at] for at in candidates.tag_hashes[b, c]),
        tables["surface_wide"][candidates.surface[b, c]],
        tables["duration_wide"][bucket],
    ]
    pairs = sum(one[1:] @ other[1:] for i, one in enumerate(used) for other in used[:i])
    return sum(row[0] for row in used) + pairs


def test_one_head_is_the_mean_of_both_parts_and_the_others_are_the_networks(asked):
    """Everything that is served: a wrong row or a forgotten pair is another model."""
    config, params, (context, candidates) = asked
    mixed = np.asarray(Ranker(config).predict(params, context, candidates).logits)
    alone = replace(config, wide_action="")
    deep = np.asarray(Ranker(alone).predict(params, context, candidates).logits)
    at = config.action_names.index("favorite")
    others = np.arange(config.num_actions) != at
    np.testing.assert_allclose(mixed[..., others], deep[..., others], atol=1e-6)
    for b, c in np.ndindex(mixed.shape[:2]):
        wide = plain_wide(params, context, candidates, b, c)
        expected = (1 - config.wide_share) * deep[b, c, at] + config.wide_share * wide
        assert mixed[b, c, at] == pytest.approx(expected, abs=1e-4)


def test_serving_programs_answer_as_the_model(asked):
    """What was measured offline must be what is served."""
    config, params, (context, candidates) = asked
    one = [jax.tree.map(lambda v: np.asarray(v)[1:2], part) for part in (context, candidates)]
    shapes = Shapes(candidate_buckets=(5,), merged_viewers=2, post_buckets=(8,))
    programs = compile_ranker(config, params, shapes)
    short = one[0].history_mask.shape[1]
    missing = config.history_length - short
    padded = jax.tree.map(
        lambda v: np.pad(v, [(0, 0), (missing, 0), *[(0, 0)] * (v.ndim - 2)])
        if v.ndim > 1 and v.shape[1] == short else v, one[0]
    )  # fmt: skip
    log_probs, _ = programs.score[1, 5](params, (programs.encode(params, padded),), one[1])
    expected = Ranker(config).predict(params, *one).log_probs
    np.testing.assert_allclose(log_probs, expected, atol=1e-5)


def test_training_keeps_the_tables_as_they_were_fitted(make_impressions, tmp_path):
    """The network is trained beside the machine, and a checkpoint holds both."""
    rows = make_impressions()
    config = ranker_preset("nano", action_names=rows.action_names, wide_action="favorite")
    train_ranker(rows, config, TrainingOptions(steps=3, batch_size=4, seed=5), tmp_path)
    _, checkpoint = load_ranker(tmp_path)
    fitted = wide_tables(rows, config, 5)
    assert set(fitted) == set(wide_table_shapes(config))
    for name, table in fitted.items():
        np.testing.assert_array_equal(checkpoint.params["tables"][name], table)
    assert fitted["post_wide"].any()


def test_an_action_that_the_model_has_not_is_refused():
    """A misspelt name must not quietly be a model without its wide part."""
    with pytest.raises(ValueError, match="wide_action must be empty or one of"):
        ranker_preset("nano", wide_action="likes")
