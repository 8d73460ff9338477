"""A small ranker whose layers the kernels run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from phoenix.attention import KeysValues
from phoenix.config import ranker_preset
from phoenix.fused.candidates import CandidateLayers
from phoenix.fused.packing import packed_layers
from phoenix.layers import Block
from phoenix.ranker import Ranker
from phoenix.serving.loading import made_up_context


class Model:
    """A small ranker with parameters that speak, in bfloat16 or bytes, and a viewer's context."""

    def __init__(self, history: int = 21, of_bytes: bool = False, **sizes: Any) -> None:
        self.config = ranker_preset("nano", history_length=21, compute_dtype="bfloat16", **sizes)
        self.ranker = Ranker(self.config)
        rng = np.random.default_rng(7)
        fresh = self.ranker.init(3)
        shaken = jax.tree.map(
            lambda w: np.float32(w + 0.2 * rng.standard_normal(w.shape)), fresh["dense"]
        )
        self.params = {"dense": shaken, "tables": fresh["tables"]}
        context = made_up_context(self.config, rng)
        mask = np.arange(21)[None] >= 21 - history
        self.context = context._replace(history_mask=mask)
        self.cache = self.ranker.encode(self.params, self.context)
        self.layers = packed_layers(self.config, shaken, of_bytes)

    def hidden(self, count: int) -> np.ndarray:
        rng = np.random.default_rng(count)
        return rng.standard_normal((count, self.config.width)).astype(np.float32)

    def fused(self, hidden: np.ndarray, threads: int = 2) -> np.ndarray:
        return CandidateLayers(self.config, threads).run(self.layers, self.cache, hidden)

    def plain(self, hidden: np.ndarray, dtype: str) -> np.ndarray:
        """The blocks themselves."""
        config = replace(self.config, compute_dtype=dtype)

        def run(x: jax.Array) -> jax.Array:
            for at in range(config.layers):
                layer = KeysValues(self.cache.layers.keys[at], self.cache.layers.values[at])
                x = Block(config, name=f"layer_{at}").score(x, layer, self.cache.mask)
            return x

        named = {
            name.removeprefix("ranker/~/"): values for name, values in self.params["dense"].items()
        }
        apply = hk.without_apply_rng(hk.transform(run)).apply
        return np.asarray(apply(named, jnp.asarray(hidden)[None])[0])


@pytest.fixture(scope="session")
def make_model() -> type[Model]:
    return Model
