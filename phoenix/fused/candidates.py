"""The layers of a ranker over one viewer's candidates, on as many threads as there are cores.

XLA runs each product and each step between two products over all candidates, on all cores, before
the next begins: a thousand of them, each too short to be worth two threads, with every number
written to the caches that cores share. Candidates do not see each other, so a tile of them can go
through all layers on one core instead, and nobody waits before the end.

Glossary as in `phoenix.fused.steps`.
"""

from __future__ import annotations

import os

import jax
import numpy as np

from phoenix.config import RankerConfig
from phoenix.fused.instructions import ROWS, has_instructions
from phoenix.fused.layers import TILE_ROWS, run_tiles
from phoenix.fused.packing import packed_seen
from phoenix.fused.scratch import Scratches, heads_of
from phoenix.fused.steps import Floats, Layers
from phoenix.ranker import ContextCache
from service_kit.interpreter import named_pool


def runs_here(config: RankerConfig) -> bool:
    """Whether this process and this model can: bfloat16, on a processor that multiplies it."""
    on_processor = jax.default_backend() == "cpu" and has_instructions()
    return config.compute_dtype == "bfloat16" and config.width % 2 == 0 and on_processor


class CandidateLayers:
    """Safe to call from several threads at once; each call blocks until its numbers are there."""

    def __init__(self, config: RankerConfig, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = named_pool(max(1, self._threads - 1), "phoenix-layers")
        self._heads = heads_of(config)
        self._scratches = Scratches(config, TILE_ROWS)

    def run(self, layers: Layers, cache: ContextCache, hidden: Floats) -> Floats:
        """Candidates [C, D] of the context's one viewer → [C, D] behind the last layer."""
        context, out = packed_seen(cache), np.empty_like(hidden)
        rows = _tile_rows(len(hidden), self._threads)
        threads = min(self._threads, -(-len(hidden) // rows))
        counter = np.zeros(1, np.int64)

        def share() -> None:
            with self._scratches.one(layers) as scratch:
                run_tiles(hidden, out, layers, self._heads, context, scratch, counter, rows)

        others = [self._pool.submit(share) for _ in range(threads - 1)]
        share()
        for other in others:
            other.result()
        return out


def _tile_rows(count: int, threads: int) -> int:
    """Whole blocks, no more than a tile, few enough that every thread has some."""
    blocks = -(-count // (ROWS * threads))
    return min(TILE_ROWS, max(1, blocks) * ROWS)
