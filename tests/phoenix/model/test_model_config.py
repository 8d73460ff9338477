"""A checkpoint's configuration must come back whole, or be refused with a reason."""

import json

import pytest

from phoenix.config import (
    PRESET_NAMES,
    RankerConfig,
    RetrievalConfig,
    ranker_preset,
    retrieval_preset,
)
from phoenix.layers import ffn_width


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_presets_survive_json(name):
    """What training wrote is what serving reads."""
    ranker, retrieval = ranker_preset(name), retrieval_preset(name)
    assert RankerConfig.from_json(ranker.to_json()) == ranker
    assert RetrievalConfig.from_json(retrieval.to_json()) == retrieval


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3, "kv_heads": 2}, "multiple of kv_heads"),
        ({"key_size": 7}, "even"),
        ({"num_hashes": 3}, "num_hashes"),
        ({"post_rows": 1}, "post_rows"),
        ({"layers": 0}, "layers"),
        ({"action_names": ()}, "at least one"),
        ({"action_names": ("click", "click")}, "distinct"),
        ({"compute_dtype": "float8"}, "float8"),
    ],
)
def test_impossible_configurations_are_named(changes, message):
    """A wrong shape should fail here and not deep inside a trace."""
    with pytest.raises(ValueError, match=message):
        ranker_preset("nano", **changes)


def test_another_action_list_is_refused():
    """Heads trained under other numbers would be read as other actions."""
    values = json.loads(ranker_preset("nano").to_json())
    values["action_list_version"] += 1
    with pytest.raises(ValueError, match="action list version"):
        RankerConfig.from_json(json.dumps(values))


def test_unknown_fields_and_other_models_are_refused():
    """A field that this program ignores may have changed what the parameters mean."""
    values = json.loads(ranker_preset("nano").to_json())
    with pytest.raises(ValueError, match="surprise"):
        RankerConfig.from_json(json.dumps({**values, "surprise": 1}))
    with pytest.raises(ValueError, match="RetrievalConfig"):
        RetrievalConfig.from_json(json.dumps(values))


def test_a_checkpoint_older_than_a_field_is_read_with_its_default():
    """Every shipped and trained checkpoint would be lost with each new choice."""
    config = ranker_preset("nano")
    values = json.loads(config.to_json())
    del values["profile_channels"]
    assert RankerConfig.from_json(json.dumps(values)) == config
    del values["action_names"]
    with pytest.raises(ValueError, match=r"missing.*action_names"):
        RankerConfig.from_json(json.dumps(values))


def test_unknown_presets_list_the_known_ones():
    with pytest.raises(ValueError, match="nano, demo, mid"):
        ranker_preset("huge")


@pytest.mark.parametrize(
    ("width", "widening", "expected"),
    [(64, 2, 88), (128, 2, 176), (128, 4, 344), (256, 2, 344), (256, 4, 688), (512, 2, 688)],
)
def test_feed_forward_widths_equal_the_originals(width, widening, expected):
    """Published parameters have these shapes."""
    assert ffn_width(width, widening) == expected
