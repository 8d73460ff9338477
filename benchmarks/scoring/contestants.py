"""One request, and everybody who answers it: the serving programs, the peers, the bare products."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.scoring import full_attention
from phoenix.config import Precision, RankerConfig
from phoenix.ranker import Ranker, _RankerNetwork, context_mask
from phoenix.serving.buckets import Shapes
from phoenix.serving.loading import made_up_candidates, made_up_context
from phoenix.serving.precision import products_type, resident, served_config
from phoenix.serving.programs import compile_ranker
from phoenix.serving.served import ServedRanker
from phoenix.tables import gather_candidates, gather_context

Turn = Callable[[], Any]
Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")
SERVED: tuple[Precision, ...] = (*DTYPES, "int8")  # what a ranker in service may multiply
PEAK_SIDE = 2_048  # of the square matrices whose product is the machine's peak
TABLE_SCALE, NOISE = 4.0, 0.5  # what training does to fresh rows and matrices, roughly


class Contest:
    """A viewer with a half-full history, C candidates, and parameters as if trained."""

    def __init__(self, config: RankerConfig, candidates: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._config = config
        self._params = jax.device_put(trained_like(config, seed))
        self._context = made_up_context(config, rng)
        self._candidates = made_up_candidates(config, rng, candidates)
        self._count = candidates
        shapes = Shapes(candidate_buckets=(candidates,), merged_viewers=2)
        self._served: dict[str, ServedRanker] = {}
        for precision in SERVED:
            served = served_config(config, precision)
            params = resident(served, self._params, of_bytes=precision == "int8")
            if products_type(served, params) == precision:  # else it is bfloat16 once more
                programs = compile_ranker(served, params, shapes)
                self._served[precision] = ServedRanker(precision, programs, params)
        self._tokens = jax.jit(self._made_tokens())
        self._jitted = {dtype: jax.jit(partial(self._full, dtype=dtype)) for dtype in DTYPES}

    @property
    def served(self) -> tuple[str, ...]:
        """In which types this machine serves a ranker."""
        return tuple(self._served)

    @property
    def seen(self) -> int:
        """Tokens of the context that are there."""
        return 1 + int(np.sum(self._context.history_mask))

    def probabilities(self) -> dict[str, np.ndarray[Any, Any]]:
        """[C, A] of every contestant."""
        found = {f"full, {dtype}": np.asarray(self._run_full(dtype)) for dtype in DTYPES}
        for dtype, served in self._served.items():
            found[f"ours, {dtype}"] = np.exp(self._whole(served).log_probs)
        return found

    def turns(self) -> dict[str, Turn]:
        """What is timed; from inputs on the host to probabilities on the host."""
        turns: dict[str, Turn] = {}
        for dtype, served in self._served.items():
            turns[f"ours, {dtype}: encode + score"] = partial(self._whole, served)
            cache = served.encode(self._context)
            turns[f"ours, {dtype}: score"] = partial(self._score, served, cache)
        for dtype in DTYPES:
            turns[f"full, jitted {dtype}"] = partial(self._run_full, dtype)
        turns["full, eager bfloat16"] = self._run_eager
        return turns

    def _whole(self, served: ServedRanker) -> Any:
        return self._score(served, served.encode(self._context))

    def _score(self, served: ServedRanker, cache: Any) -> Any:
        return served.score_one(cache, self._candidates, self._count)

    def _run_full(self, dtype: Dtype) -> Any:
        return jax.device_get(self._jitted[dtype](self._params, self._context, self._candidates))

    def _run_eager(self) -> Any:
        """Tokens by the compiled program: what is eager is the transformer."""
        tokens = self._tokens(self._params, self._context, self._candidates)
        return jax.device_get(self._attended(tokens, self._params, "bfloat16"))

    def _full(self, params: Any, context: Any, candidates: Any, *, dtype: Dtype) -> Any:
        return self._attended(self._made_tokens()(params, context, candidates), params, dtype)

    def _attended(self, tokens: Any, params: Any, dtype: Dtype) -> Any:
        context, seen, shown, features = tokens
        return full_attention.probabilities(
            self._config, params["dense"], context, seen, shown, features, dtype
        )

    def _made_tokens(self) -> Callable[..., Any]:
        """→ context [T, D], which exist [T], candidates [C, D], features [C, F]."""

        def build(context_rows: Any, candidate_rows: Any, context: Any, candidates: Any) -> Any:
            network = _RankerNetwork(self._config)
            tokens = network._tokens.context(context_rows, context)
            cache = network.encode(context_rows, context)  # its layers are not asked for
            features, joined = network.features(cache, candidate_rows, candidates)
            seen = context_mask(jnp.asarray(context.history_mask))
            return tokens[0], seen[0], joined[0], features[0]

        transformed: Any = hk.transform(build)
        apply = hk.without_apply_rng(transformed).apply

        def tokens(params: Any, context: Any, candidates: Any) -> Any:
            rows = gather_context(params["tables"], context)
            shown = gather_candidates(params["tables"], candidates)
            return apply(params["dense"], rows, shown, context, candidates)

        return tokens


def trained_like(config: RankerConfig, seed: int) -> dict[str, Any]:
    """Fresh parameters with noise everywhere, so that every part of the model speaks."""
    rng = np.random.default_rng(seed)
    params = Ranker(config).init(seed)

    def shaken(weight: Any) -> Any:
        values = np.asarray(weight)
        scale = values.std() if values.ndim > 1 else 0.2  # norm scales and biases: around theirs
        return (values + NOISE * scale * rng.standard_normal(values.shape)).astype(np.float32)

    tables = {name: TABLE_SCALE * np.asarray(table) for name, table in params["tables"].items()}
    return {"dense": jax.tree.map(shaken, params["dense"]), "tables": tables}


def peaks(side: int) -> dict[str, Turn]:
    """Jitted products of two square matrices, which is as fast as this machine multiplies."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(-8, 8, (side, side))
    results = {"float32": jnp.float32, "bfloat16": jnp.float32, "int8": jnp.int32}

    def turn(dtype: str, result: Any) -> Turn:
        matrix = jnp.asarray(numbers, dtype)
        multiply = jax.jit(lambda x: jax.lax.dot(x, x, preferred_element_type=result))
        return lambda: multiply(matrix).block_until_ready()

    return {f"product, {dtype}": turn(dtype, result) for dtype, result in results.items()}
