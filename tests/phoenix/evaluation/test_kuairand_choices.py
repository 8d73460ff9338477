"""Choices are made on the validation day, from what was known when a day began."""

import json

import numpy as np
import pytest

from phoenix.config import ranker_preset
from phoenix.data.catalogue import Catalogue
from phoenix.data.history import HistoryReader
from phoenix.evaluation import kuairand
from phoenix.evaluation.kuairand_ablation import ablate, changes, format_ablation, names_of
from phoenix.evaluation.kuairand_content import with_content
from phoenix.evaluation.kuairand_data import OUR_ACTIONS, load
from phoenix.evaluation.kuairand_statics import Statics

CONFIG = ranker_preset("nano", layers=1, rates=True, tag_rows=8).with_actions(OUR_ACTIONS)


@pytest.fixture(scope="module")
def directory(write_kuairand):
    return write_kuairand()


def test_validation_leaves_the_last_day_out(directory):
    """Settings that were chosen on the test day say nothing of another day."""
    data = load(directory)
    last = np.unique(data.rows.days)[-2:]
    split = kuairand.make_split(data, directory, None, validate=True)
    assert set(split.test.days) == {last[0]}
    assert split.train.days.max() < last[0]


def test_training_rows_know_nothing_of_their_own_day(directory):
    """The test day is asked about blind; a model trained on fresh histories misses them there."""
    split = kuairand.make_split(load(directory), directory, None)
    seen = split.learned_from
    starts = [
        split.train.time_ms[split.train.days == day].min() for day in np.unique(split.train.days)
    ]
    timed = np.flatnonzero(seen.impressed_at_ms > 0)
    at_ms = seen.impressed_at_ms[timed]
    history = HistoryReader(seen, 64).read(seen.viewer_ids[timed], at_ms)
    begun = np.array(starts)[np.searchsorted(starts, at_ms, side="right") - 1]
    newest = np.where(history.history_age_seconds >= 0, history.history_age_seconds, np.inf)
    newest = np.where(history.history_mask, newest, np.inf).min(axis=1)
    assert np.isfinite(newest).any()
    assert (at_ms - newest * 1000 <= begun + 1000).all()  # ages are float32 seconds


def test_older_rows_say_that_they_do_not_know_most_actions(directory):
    """Six heads would learn that everything of the past was refused."""
    seen = kuairand.make_split(load(directory), directory, None).impressions
    older = seen.impressed_at_ms < 0
    known = seen.labels_known[older].all(axis=0)
    assert {a for a, k in zip(OUR_ACTIONS, known, strict=True) if k} == {
        "video_quality_view",
        "favorite",
    }
    assert seen.labels_known[~older].all()


def test_unknown_choices_are_named():
    """A typing error must not train for an hour and leave the choice out."""
    assert names_of("all") == list(changes())
    assert names_of("causal, no-tags") == ["causal", "no-tags"]
    with pytest.raises(ValueError, match="casual"):
        names_of("casual")


def test_an_ablation_compares_with_its_base(directory):
    """The table is what choices are made by."""
    result = ablate(directory, ["no-history"], steps=2, config=CONFIG)
    base, changed = result["rows"]
    assert (base["name"], changed["name"]) == ("base", "no-history")
    assert changed["difference"] == pytest.approx(changed["primary"] - base["primary"])
    assert changed["primary"] != base["primary"]
    json.dumps(result, allow_nan=False)
    assert "no-history: no history" in format_ablation(result)


def test_content_vectors_know_kinds_and_no_outcomes(directory):
    """Videos that the same people are shown lie together; labels must not change a vector."""
    split = kuairand.make_split(load(directory), directory, None)
    videos = np.unique(split.impressions.post_ids)
    tags = (videos % 2 + 1)[:, None]
    count = len(videos)
    catalogue = Catalogue(
        videos, tags, np.ones(count, np.float32), np.zeros(count, np.int64),
        np.zeros((count, 0), np.float32),
    )  # fmt: skip
    none = np.zeros(0, np.int64)
    statics = Statics(
        videos - 1, tags, np.ones(count), np.ones(count), np.zeros(count, np.int64), none,
        np.zeros((0, 1)),
    )  # fmt: skip
    seen = split.impressions
    found = with_content(catalogue, statics, seen, 4).content
    blind = seen.replace(labels=1 - seen.labels)
    np.testing.assert_array_equal(found, with_content(catalogue, statics, blind, 4).content)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    cosine = unit @ unit.T
    alike = tags == tags.T
    assert cosine[alike].mean() > cosine[~alike].mean() + 0.1
