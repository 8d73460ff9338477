"""A ranker in another type than it was trained in: how it is chosen, measured and refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phoenix.fused.instructions import has_byte_instructions, has_instructions
from phoenix.fused.operands import Bytes
from phoenix.serving import loading, precision
from phoenix.serving.buckets import Shapes
from phoenix.serving.loading import ModelRefusedError, load_served_ranker
from phoenix.serving.precision import PACKED, products_type, resident, served_config
from phoenix.serving.programs import compile_ranker

SHAPES = Shapes(candidate_buckets=(16,), merged_viewers=2, post_buckets=(8,))


@pytest.fixture(scope="module")
def path(checkpoints, tmp_path_factory):
    return checkpoints.save_ranker(tmp_path_factory.mktemp("precise"))


@pytest.fixture(scope="module")
def brief(path):
    return load_served_ranker(path, SHAPES, None, "bfloat16")


def test_bfloat16_is_close_and_says_how_close(brief) -> None:
    """An operator who halves the digits must see what it costs the probabilities."""
    assert brief.programs.config.compute_dtype == "bfloat16"
    assert 0 < brief.precision_error < loading.PRECISION_ERROR_MAX
    layer = brief.params["dense"]["ranker/~/layer_0"]
    assert layer["query"].dtype == jnp.bfloat16
    assert layer["norm_ffn_in"].dtype == jnp.float32
    assert brief.params["tables"]["post"].dtype == jnp.float32


@pytest.mark.skipif(
    not (has_instructions() and has_byte_instructions()), reason="needs AVX-512 BF16 and VNNI"
)
def test_int8_is_close_and_says_how_close(path, brief) -> None:
    """An operator who asks for bytes must get them, and see what they cost the probabilities."""
    served = load_served_ranker(path, SHAPES, None, "int8")
    config = served.programs.config
    assert products_type(config, served.params) == "int8"
    assert products_type(config, brief.params) == "bfloat16"
    assert brief.precision_error < served.precision_error < loading.PRECISION_ERROR_MAX
    assert config.compute_dtype == "bfloat16"


def test_int8_without_the_instruction_is_bfloat16(checkpoints, monkeypatch) -> None:
    """A fleet of older processors must serve with the same settings, not end in an invalid one."""
    monkeypatch.setattr(precision, "has_byte_instructions", lambda: False)
    config = served_config(checkpoints.ranker_config, "int8")
    params = resident(config, checkpoints.ranker_params(1), of_bytes=True)
    assert PACKED not in params or not isinstance(params[PACKED].inputs, Bytes)
    assert products_type(config, params) == "bfloat16"


def test_the_checkpoints_own_type_is_the_default(checkpoints) -> None:
    """An update of the program must not change what a checkpoint answers."""
    config = checkpoints.ranker_config
    assert served_config(config, "checkpoint") is config
    params = resident(config, checkpoints.ranker_params(1))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}


def test_converting_once_changes_no_answer(brief, checkpoints) -> None:
    """Matrices that are kept in bfloat16 must give what converting them in each call gives."""
    unconverted = resident(checkpoints.ranker_config, checkpoints.ranker_params(1))
    rng = np.random.default_rng(3)
    config = brief.programs.config
    context = loading.made_up_context(config, rng)
    candidates = loading.made_up_candidates(config, rng, 5)
    found = []
    for params in ({name: brief.params[name] for name in unconverted}, unconverted):
        served = replace(brief, params=params, programs=compile_ranker(config, params, SHAPES))
        found.append(served.score_one(served.encode(context), candidates, 16).log_probs)
    assert np.array_equal(*found)


def test_too_large_an_error_is_refused(path, monkeypatch) -> None:
    """A checkpoint that needs its digits must not serve without them."""
    monkeypatch.setattr(loading, "PRECISION_ERROR_MAX", 1e-9)
    with pytest.raises(ModelRefusedError, match=r"in bfloat16 .*set ranker_precision to float32"):
        load_served_ranker(path, SHAPES, None, "bfloat16")
