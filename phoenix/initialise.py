"""Initial parameters, drawn on the host in numpy.

The network is traced for its shapes and never run: no compilation, and the same numbers for a
seed on every device. Initialisers below say what to draw; Haiku only ever sees zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

TRUNCATION = 2.0  # standard deviations beyond which a draw is repeated


@dataclass(frozen=True, slots=True)
class Normal:
    """Truncated normal around 0."""

    stddev: float

    def __call__(self, shape: Sequence[int], dtype: Any) -> jax.Array:
        return jnp.zeros(shape, dtype)

    def draw(self, rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        values = rng.standard_normal(shape)
        while (outside := np.abs(values) > TRUNCATION).any():
            values[outside] = rng.standard_normal(int(outside.sum()))
        return (self.stddev * values).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Constant:
    """One value everywhere."""

    value: float

    def __call__(self, shape: Sequence[int], dtype: Any) -> jax.Array:
        return jnp.zeros(shape, dtype)

    def draw(self, rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray[Any, Any]:
        return np.full(shape, self.value, np.float32)


def draw_parameters(
    network: Callable[..., Any], seed: int, *inputs: Any
) -> dict[str, dict[str, jax.Array]]:
    """{module: {name: array}} of a Haiku function, in the order of creation."""
    rng = np.random.default_rng([seed, 0xDE45E])
    drawn: dict[str, dict[str, np.ndarray[Any, Any]]] = {}

    def creator(next_creator: Any, shape: Any, dtype: Any, init: Any, context: Any) -> Any:
        values = init.draw(rng, shape)
        drawn.setdefault(context.module_name, {})[context.name] = values
        return next_creator(shape, dtype, init)

    def traced(*inputs: Any) -> Any:
        with hk.custom_creator(creator, params=True, state=False):
            return network(*inputs)

    jax.eval_shape(hk.transform(traced).init, None, *inputs)
    return {m: {n: jnp.asarray(v) for n, v in named.items()} for m, named in drawn.items()}
