"""Turns a checkpoint into a model in service, or refuses it with the reason.

A model is taken only if it compiles, answers finite numbers on a made-up batch, and answers the
same number for a candidate alone, among others, in another order and beside other viewers.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from phoenix.calibration import Calibration
from phoenix.checkpoint import load_ranker, load_retrieval
from phoenix.config import ModelConfig, Precision
from phoenix.features import CandidateInputs, ContextInputs, contents, hours, optional_inputs
from phoenix.ranker import Ranker
from phoenix.serving.buckets import Shapes
from phoenix.serving.precision import products_type, resident, served_config
from phoenix.serving.programs import (
    Params,
    compile_ranker,
    compile_retrieval,
    slice_candidates,
)
from phoenix.serving.served import Scores, ServedRanker, ServedRetrieval

# Largest difference of a probability between two ways to ask for it. Rounding of sums in another
# order stays below 1e-6 (measured, demo and mid); bfloat16 keeps three decimal digits; with int8
# small requests that share a call are multiplied in bfloat16.
PROBABILITY_DIFFERENCE_MAX = {"float32": 1e-5, "bfloat16": 2e-2, "int8": 6e-2}
# Beside float32, on random parameters: bfloat16 0.006, int8 0.03 (benchmarks/scoring); beyond twice
# the latter a checkpoint's numbers are not for so few digits.
PRECISION_ERROR_MAX = 0.06
UNIT_LENGTH_ERROR_MAX = 1e-3  # a tower that does not normalise is broken; rounding is 1e-6
_CHECK_SEED = 20261121  # any fixed number: the check is the same for every checkpoint


class ModelRefusedError(ValueError):
    """The checkpoint is readable but must not serve; the message says what it did."""


def load_served_ranker(
    path: Path,
    shapes: Shapes,
    running: ServedRanker | None,
    precision: Precision = "checkpoint",
) -> ServedRanker:
    """Blocks for seconds. Raises CheckpointError, ModelRefusedError or TypeError."""
    trained, checkpoint = load_ranker(path)
    config = served_config(trained, precision)
    params = resident(config, checkpoint.params, of_bytes=precision == "int8")
    if running is not None and running.programs.config == config:
        programs = running.programs
    else:
        programs = compile_ranker(config, params, shapes)
    served = ServedRanker(checkpoint.model_version, programs, params, checkpoint.calibration)
    check_ranker(served)
    error = precision_error(served, checkpoint.params["dense"])
    return replace(served, precision_error=error)


def precision_error(model: ServedRanker, dense: Params) -> float:
    """Largest difference of a probability from the same parameters in float32; 0 in float32.

    On a made-up request, whose program takes a second to compile. Raises ModelRefusedError.
    """
    config = model.programs.config
    if config.compute_dtype == "float32":
        return 0.0
    rng = np.random.default_rng(_CHECK_SEED)
    small = model.programs.shapes.merged_candidates
    context, candidates = made_up_context(config, rng), made_up_candidates(config, rng, small)
    exact = jax.jit(Ranker(replace(config, compute_dtype="float32")).predict)
    params = {"dense": dense, "tables": model.params["tables"]}
    truth = jax.nn.sigmoid(exact(params, context, candidates).logits)[0]
    uncalibrated = replace(model, calibration=Calibration())
    found = uncalibrated.score_one(model.encode(context), candidates, small)
    error = float(np.abs(np.exp(found.log_probs) - np.asarray(truth)).max())
    if not error <= PRECISION_ERROR_MAX:  # NaN fails too
        raise ModelRefusedError(
            f"in {products_type(config, model.params)} a probability differs by {error:.2g} from "
            f"float32, at most {PRECISION_ERROR_MAX}: set ranker_precision to float32 for this "
            "checkpoint"
        )
    return error


def load_served_retrieval(
    path: Path, shapes: Shapes, running: ServedRetrieval | None
) -> ServedRetrieval:
    """Blocks for seconds. Raises CheckpointError, ModelRefusedError or TypeError."""
    config, checkpoint = load_retrieval(path)
    params = jax.device_put(checkpoint.params)
    if running is not None and running.programs.config == config:
        programs = running.programs
    else:
        programs = compile_retrieval(config, params, shapes)
    served = ServedRetrieval(checkpoint.model_version, programs, params)
    check_retrieval(served)
    return served


def check_ranker(model: ServedRanker) -> None:
    """Runs every compiled shape once. Raises ModelRefusedError."""
    config, shapes = model.programs.config, model.programs.shapes
    rng = np.random.default_rng(_CHECK_SEED)
    contexts = [made_up_context(config, rng) for _ in range(shapes.merged_viewers)]
    caches = [model.encode(context) for context in contexts]
    small, large = shapes.merged_candidates, shapes.candidate_buckets[-1]
    candidates = made_up_candidates(config, rng, large)
    whole = model.score_one(caches[0], candidates, large)
    _require_finite(whole)
    order = rng.permutation(large)
    shuffled = jax.tree.map(lambda values: values[:, order], candidates)
    _require_equal(model, whole, model.score_one(caches[0], shuffled, large), order, "reordered")
    few = slice_candidates(candidates, 0, small)
    merged = model.score_merged(caches, [few] * len(caches))
    _require_equal(model, whole, merged[0], np.arange(small), "beside other viewers")
    for bucket in shapes.candidate_buckets:
        alone = model.score_one(caches[0], slice_candidates(candidates, 0, 1), bucket)
        _require_equal(model, whole, alone, np.arange(1), f"alone in a bucket of {bucket}")


def check_retrieval(model: ServedRetrieval) -> None:
    """Runs every compiled shape once. Raises ModelRefusedError."""
    rng = np.random.default_rng(_CHECK_SEED)
    user = model.user_vector(made_up_context(model.programs.config, rng))
    for size in model.programs.shapes.post_buckets:
        ids = rng.integers(1, 1 << 62, (2, size)).astype(np.uint64)
        vectors = np.concatenate([user[None], model.post_vectors(ids[0], ids[1])])
        error = float(np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max())
        if not error <= UNIT_LENGTH_ERROR_MAX:  # NaN fails too
            raise ModelRefusedError(f"a tower's vectors miss unit length by {error}")


def made_up_context(config: ModelConfig, rng: np.random.Generator) -> ContextInputs:
    """A viewer [1, S, …] with a half-full random history."""
    length, hashes = config.history_length, config.num_hashes
    mask = (np.arange(length) >= length // 2)[None]

    def rows(limit: int) -> Any:
        return (rng.integers(1, limit, (1, length, hashes)) * mask[..., None]).astype(np.int32)

    actions = rng.random((1, length, config.num_actions)) < 0.3
    tags, durations = optional_inputs(
        config, mask, rng.integers(1, 1 << 31, (1, length, 2)), rng.exponential(60.0, (1, length))
    )
    return ContextInputs(
        user_hashes=rng.integers(1, config.user_rows, (1, hashes)).astype(np.int32),
        history_post_hashes=rows(config.post_rows),
        history_author_hashes=rows(config.author_rows),
        history_actions=(actions * mask[..., None]).astype(np.float32),
        history_dwell_seconds=np.where(mask, rng.exponential(9.0, mask.shape), -1).astype(
            np.float32
        ),
        history_surface=np.zeros((1, length), np.int32),
        history_age_seconds=(rng.exponential(9e4, mask.shape) * mask).astype(np.float32),
        history_mask=mask,
        history_tag_hashes=tags,
        history_duration_seconds=durations,
    )


def made_up_candidates(
    config: ModelConfig, rng: np.random.Generator, count: int
) -> CandidateInputs:
    """Random posts [1, C, …]."""
    shape = (1, count, config.num_hashes)
    mask = np.ones((1, count), np.bool_)
    tags, durations = optional_inputs(
        config, mask, rng.integers(1, 1 << 31, (1, count, 2)), rng.exponential(60.0, (1, count))
    )
    return CandidateInputs(
        tag_hashes=tags,
        duration_seconds=durations,
        hour=hours(config, None, mask),
        content=contents(config, None, mask),
        post_hashes=rng.integers(1, config.post_rows, shape).astype(np.int32),
        author_hashes=rng.integers(1, config.author_rows, shape).astype(np.int32),
        surface=np.ones((1, count), np.int32),
        age_seconds=rng.exponential(9e4, (1, count)).astype(np.float32),
    )


def probability_difference(one: Scores, other: Scores) -> float:
    """Largest difference of a probability; NaN if either holds one."""
    return float(np.abs(np.exp(one.log_probs) - np.exp(other.log_probs)).max(initial=0.0))


def _require_finite(scores: Scores) -> None:
    if not (np.isfinite(scores.log_probs).all() and np.isfinite(scores.dwell_seconds).all()):
        raise ModelRefusedError("the model answers numbers that are not finite")


def _require_equal(model: ServedRanker, whole: Scores, other: Scores, order: Any, how: str) -> None:
    """`other` scores the candidates `order` of `whole`, asked for in another way."""
    difference = probability_difference(Scores(*(values[order] for values in whole)), other)
    limit = PROBABILITY_DIFFERENCE_MAX[products_type(model.programs.config, model.params)]
    if not difference <= limit:  # NaN fails too
        raise ModelRefusedError(
            f"a candidate's probability differs by {difference:.2g} when {how}; at most {limit}"
        )
