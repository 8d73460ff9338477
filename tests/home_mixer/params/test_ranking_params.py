"""The tables are the published ones, complete and within bounds."""

import math
from dataclasses import FrozenInstanceError, fields

import pytest

from home_mixer.params import RankingParams, load_params
from service_kit.action_list import ACTION_NAMES
from service_kit.ranking_weights import DEFAULT_TABLE, load_table, table_names

CHANGED_SINCE_AUGUST = {
    "click": (0.4, 0.3),
    "video_quality_view": (0.05, 0.0),
    "video_open": (0.05, 0.07),
    "dwell": (0.0, 0.05),
    "click_dwell_time": (0.0, 0.4),
    "post_unexplored": (0.02, 0.015),
    "not_interested": (-43.2, -47.52),
}


def test_the_shipped_tables_name_every_head_and_differ_as_published():
    assert table_names() == ("x-2026-08", "x-2026-10")
    assert DEFAULT_TABLE == "x-2026-10"
    august, october = (load_params(name).weights for name in table_names())
    assert set(august) == set(october) == set(ACTION_NAMES)
    assert all(set(load_table(name)["weights"]) == set(ACTION_NAMES) for name in table_names())
    differing = {
        head: (august[head], october[head]) for head in august if august[head] != october[head]
    }
    assert differing == CHANGED_SINCE_AUGUST


@pytest.mark.parametrize(
    ("table", "positive", "negative"), [("x-2026-08", 43.32, 367.22), ("x-2026-10", 43.235, 371.54)]
)
def test_the_sums_of_the_offset_are_the_published_ones(table, positive, negative):
    params = load_params(table)
    assert params.negative_weights_sum == pytest.approx(negative, abs=1e-12)
    assert params.weights_sum == pytest.approx(positive + negative, abs=1e-12)


def test_the_defaults_of_the_code_are_those_of_the_default_table():
    table = load_table()
    bare = RankingParams(name="bare", weights=table["weights"])
    assert bare.params_hash == load_params().params_hash


def test_every_parameter_has_a_sentence_and_bounds():
    for item in fields(RankingParams):
        assert item.metadata["doc"]
        if item.name not in ("name", "weights"):
            assert item.metadata["min"] <= item.default <= item.metadata["max"], item.name


def test_the_hash_names_the_values_and_not_the_name():
    params = load_params()
    assert params.params_hash == RankingParams(**{**params.as_dict(), "name": "mine"}).params_hash
    assert params.params_hash != load_params(overrides={"top_k": 60}).params_hash
    assert params.params_hash != load_params("x-2026-08").params_hash
    assert load_params(overrides={"weights.favorite": 1}).params_hash == (
        load_params(overrides={"weights.favorite": 1.0}).params_hash
    )


def test_a_table_in_force_cannot_be_changed():
    params = load_params()
    with pytest.raises(TypeError):
        params.weights["reply"] = 1.0  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        params.top_k = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"weights.retweet": 1.0}, "unknown head 'retweet'; the heads are favorite, reply"),
        ({"weights.reply": "much"}, "weights.reply is 'much'; a number is expected"),
        ({"weights.reply": True}, "weights.reply is True; a number is expected"),
        ({"weights.reply": math.nan}, "weights.reply is nan; a number is expected"),
        ({"weights.dwell_time": -0.1}, r"weights.dwell_time is -0.1; 0 to 1e\+06 is expected"),
        ({"oon_weight_factor": 1.5}, "oon_weight_factor is 1.5; 0 to 1 is expected"),
        ({"top_k": 2.5}, "top_k is 2.5; a whole number is expected"),
        ({"enable_author_diversity": 1}, "enable_author_diversity is 1; true or false"),
        ({"topk": 5}, "unknown parameter 'topk'; there are weights.<head>, mutual_follow"),
        ({"result_size": 60}, "result_size is 60 and top_k 50; raise top_k"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_params(overrides=overrides)
