"""The layers of a ranker over one viewer's candidates, on as many threads as there are cores.

XLA runs each product and each step between two products over all candidates, on all cores, before
the next begins: a thousand of them, each too short to be worth two threads, with every number
written to the caches that cores share. Candidates do not see each other, so a tile of them can go
through all layers on one core instead, and nobody waits before the end.

Glossary as in `phoenix.fused.steps`.
"""

from __future__ import annotations

import jax
import numpy as np

from phoenix.config import RankerConfig
from phoenix.fused.instructions import has_instructions
from phoenix.fused.layers import TILE_ROWS, run_tiles
from phoenix.fused.packing import packed_seen
from phoenix.fused.scratch import Scratches, heads_of
from phoenix.fused.steps import Floats, Layers
from phoenix.fused.team import Counter, Team, Tiles
from phoenix.ranker import ContextCache


def runs_here(config: RankerConfig) -> bool:
    """Whether this process and this model can: bfloat16, on a processor that multiplies it."""
    on_processor = jax.default_backend() == "cpu" and has_instructions()
    return config.compute_dtype == "bfloat16" and config.width % 2 == 0 and on_processor


class CandidateLayers:
    """Safe to call from several threads at once; each call blocks until its numbers are there."""

    def __init__(self, config: RankerConfig, threads: int | None = None) -> None:
        self._team = Team(threads)
        self._heads = heads_of(config)
        self._scratches = Scratches(config, TILE_ROWS)

    def run(self, layers: Layers, cache: ContextCache, hidden: Floats) -> Floats:
        """Candidates [C, D] of the context's one viewer → [C, D] behind the last layer."""
        context, out = packed_seen(cache), np.empty_like(hidden)

        def work(tiles: Tiles, counter: Counter) -> None:
            with self._scratches.one(layers) as scratch:
                run_tiles(hidden, out, layers, self._heads, context, scratch, tiles, counter)

        self._team.share(len(hidden), work)
        return out
