"""The compiled shapes of both models. Parameters are arguments, so that a new checkpoint of the
same configuration runs the programs of the old one and costs no compilation.

B viewers of one call, C candidates, S history, A actions, N posts, D width of the towers.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phoenix.attention import KeysValues
from phoenix.config import RankerConfig, RetrievalConfig
from phoenix.features import CandidateInputs, ContextInputs
from phoenix.fused.candidates import CandidateLayers
from phoenix.fused.context import ContextLayers
from phoenix.fused.ends import Viewer
from phoenix.fused.rows import gathered
from phoenix.fused.viewers import WholeRanker
from phoenix.ranker import ContextCache, Ranker, dummy_candidates, dummy_context
from phoenix.retrieval import RetrievalModel
from phoenix.serving.buckets import Shapes
from phoenix.serving.precision import PACKED, WHOLE

Program = Callable[..., Any]
Params = Mapping[str, Any]
Encoded = ContextCache | Viewer  # a context, as programs of XLA or the kernels keep it
Job = tuple[Program, tuple[Any, ...]]  # a function to compile, and arguments of its shapes

COMPILE_THREADS = 4  # XLA compiles outside the GIL; more threads than this wait for cores


@dataclass(frozen=True, slots=True)
class RankerPrograms:
    """`encode` one context; `score` caches of B viewers with C candidates each, by (B, C)."""

    config: RankerConfig
    shapes: Shapes
    encode: Program  # (params, ContextInputs [1, S]) -> Encoded
    score: Mapping[tuple[int, int], Program]  # (params, B caches, candidates) -> log_probs, dwell
    is_whole: bool = False  # in kernels: `score` has one viewer each, of any number of candidates


@dataclass(frozen=True, slots=True)
class RetrievalPrograms:
    """`user` encodes one viewer, `posts` the posts of one bucket."""

    config: RetrievalConfig
    shapes: Shapes
    user: Program  # (params, ContextInputs [1, S]) -> [1, D]
    posts: Mapping[int, Program]  # N -> (params, hashes [N, J], author hashes [N, J]) -> [N, D]


def compile_ranker(config: RankerConfig, params: Params, shapes: Shapes) -> RankerPrograms:
    """Every program of the ranker, compiled side by side. Raises TypeError for odd parameters.

    Where the parameters hold the `WHOLE` model for kernels, they answer alone and XLA compiles
    nothing; where only its layers are `PACKED`, one viewer's candidates pass them in
    `phoenix.fused`, between two programs.
    """
    if WHOLE in params:
        return _whole(config, shapes)
    ranker, is_fused = Ranker(config), PACKED in params
    params = _of_xla(params)
    context = dummy_context(config, 1, config.history_length)
    cache = jax.eval_shape(ranker.encode, params, context)
    jobs: list[Job] = [(ranker.open if is_fused else ranker.encode, (params, context))]
    parts = []
    for bucket in shapes.candidate_buckets:
        candidates = dummy_candidates(config, 1, bucket)
        parts.append(_score_jobs(ranker, params, cache, candidates, is_fused))
        jobs += parts[-1]
    merged = (shapes.merged_viewers, shapes.merged_candidates)
    caches, candidates = (cache,) * merged[0], dummy_candidates(config, *merged)
    jobs.append((partial(_score, ranker), (params, caches, candidates)))
    encode, *scores, last = map(_only_of_xla, _compile_all(jobs))
    encode = _filled(encode, ContextLayers(config)) if is_fused else encode
    layers = CandidateLayers(config) if is_fused else None
    found = iter(scores)
    score = {
        (1, bucket): _joined([next(found) for _ in part], layers)
        for bucket, part in zip(shapes.candidate_buckets, parts, strict=True)
    }
    return RankerPrograms(config, shapes, encode, score | {merged: last})


def _whole(config: RankerConfig, shapes: Shapes) -> RankerPrograms:
    ranker = WholeRanker(config)

    def encode(params: Params, inputs: ContextInputs) -> Viewer:
        return ranker.encode(params[WHOLE], inputs)

    def score(params: Params, viewers: Sequence[Viewer], candidates: CandidateInputs) -> Any:
        return ranker.score(params[WHOLE], viewers[0], candidates)

    every = {(1, bucket): score for bucket in shapes.candidate_buckets}
    return RankerPrograms(config, shapes, encode, every, is_whole=True)


def _filled(opened: Program, layers: ContextLayers) -> Program:
    """(params, inputs) → a whole cache, of `Ranker.open` and the layers."""

    def encode(params: Params, inputs: ContextInputs) -> ContextCache:
        hidden, cache = opened(params, inputs)
        mask = np.concatenate([[True], np.asarray(inputs.history_mask)[0]])
        found = layers.run(params[PACKED], np.asarray(hidden)[0], mask)
        filled: ContextCache = cache._replace(layers=found)
        return filled

    return encode


def _score_jobs(
    ranker: Ranker, params: Params, cache: Any, candidates: CandidateInputs, is_fused: bool
) -> list[Job]:
    """One viewer's score: one program, or what stands before the layers and what behind them."""
    if not is_fused:
        return [(partial(_score, ranker), (params, (cache,), candidates))]
    first = (params, cache, candidates, *_rows(params, candidates))
    begun = jax.eval_shape(ranker.begin, *first)
    return [
        (ranker.begin, first),
        (partial(_finish, ranker), (params, cache, candidates, *begun)),
    ]


def _joined(programs: Sequence[Program], layers: CandidateLayers | None) -> Program:
    """(params, caches, candidates) → log_probs, dwell, of `_score_jobs`'s programs."""
    if layers is None:
        return programs[0]
    begin, finish = programs

    def score(params: Params, caches: Sequence[ContextCache], candidates: CandidateInputs) -> Any:
        rows = _rows(params, candidates)
        features, hidden = begin(params, caches[0], candidates, *rows)
        passed = layers.run(params[PACKED], caches[0], np.asarray(hidden)[0])
        return finish(params, caches[0], candidates, features, passed[None])

    return score


def _rows(params: Params, candidates: CandidateInputs) -> tuple[Any, Any]:
    """Of posts and authors, [1, C, J, E]."""
    tables = params["tables"]
    return (
        gathered(tables["post"], candidates.post_hashes),
        gathered(tables["author"], candidates.author_hashes),
    )


def _score(
    ranker: Ranker, params: Params, caches: Sequence[ContextCache], candidates: CandidateInputs
) -> tuple[jax.Array, jax.Array]:
    output = ranker.score(params, stack_caches(caches), candidates)
    return output.log_probs, output.dwell_seconds


def _finish(ranker: Ranker, *inputs: Any) -> tuple[jax.Array, jax.Array]:
    output = ranker.finish(*inputs)
    return output.log_probs, output.dwell_seconds


def _of_xla(params: Params) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in (PACKED, WHOLE)}


def _only_of_xla(program: Program) -> Program:
    return lambda params, *inputs: program(_of_xla(params), *inputs)


def compile_retrieval(config: RetrievalConfig, params: Params, shapes: Shapes) -> RetrievalPrograms:
    """Both towers, compiled side by side. Raises TypeError for odd parameters."""
    model = RetrievalModel(config)
    context = dummy_context(config, 1, config.history_length)
    jobs: list[Job] = [(model.user_tower, (params, context))]
    for size in shapes.post_buckets:
        hashes = np.zeros((size, config.num_hashes), np.int32)
        jobs.append((model.candidate_tower, (params, hashes, hashes)))
    user, *posts = _compile_all(jobs)
    return RetrievalPrograms(
        config, shapes, user, dict(zip(shapes.post_buckets, posts, strict=True))
    )


def stack_caches(caches: Sequence[ContextCache]) -> ContextCache:
    """Caches of one viewer each → one of B viewers; layers hold B second, the rest first."""
    if len(caches) == 1:
        return caches[0]
    keys = jnp.concatenate([cache.layers.keys for cache in caches], axis=1)
    values = jnp.concatenate([cache.layers.values for cache in caches], axis=1)
    rest = (
        jnp.concatenate(arrays) for arrays in zip(*(cache[1:] for cache in caches), strict=True)
    )
    return ContextCache(KeysValues(keys, values), *rest)


def pad_candidates(inputs: CandidateInputs, size: int) -> CandidateInputs:
    """[1, c, …] → [1, size, …] with padding candidates behind; the same where c is `size`."""
    count = inputs.surface.shape[1]
    if count == size:
        return inputs

    def padded(values: Any, fill: float) -> Any:
        wider = np.full((1, size, *values.shape[2:]), fill, values.dtype)  # np.pad takes ten times
        wider[:, :count] = values
        return wider

    unknown = {"age_seconds": -1.0, "duration_seconds": -1.0}
    named = inputs._asdict().items()
    return CandidateInputs(
        **{n: None if v is None else padded(v, unknown.get(n, 0)) for n, v in named}
    )


def slice_candidates(inputs: CandidateInputs, start: int, stop: int) -> CandidateInputs:
    """Candidates [start, stop) of [1, C, …] inputs."""
    sliced: CandidateInputs = jax.tree.map(lambda values: values[:, start:stop], inputs)
    return sliced


def context_rows(inputs: ContextInputs, row: int) -> ContextInputs:
    """One viewer [1, S, …] of a batch."""
    taken: ContextInputs = jax.tree.map(lambda values: values[row : row + 1], inputs)
    return taken


def _compile_all(jobs: Sequence[Job]) -> list[Program]:
    def compile_one(job: Job) -> Program:
        function, arguments = job
        program: Program = jax.jit(function).lower(*arguments).compile()
        return program

    with ThreadPoolExecutor(COMPILE_THREADS, "phoenix-compile") as pool:
        return list(pool.map(compile_one, jobs))
