"""The threads that share one call's candidates, a tile at a time."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from phoenix.fused.instructions import ROWS
from phoenix.fused.layers import TILE_ROWS
from service_kit.interpreter import named_pool

Tiles = NDArray[np.int64]  # the rows at which tiles begin, and the number of all rows behind
Counter = NDArray[np.int64]  # [1]: the next tile that nobody has taken


class Team:
    """The caller's thread and its helpers, as many as there are cores."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._pool = named_pool(max(1, self._threads - 1), "phoenix-layers")

    def share(self, count: int, work: Callable[[Tiles, Counter], None]) -> None:
        """Runs ``work`` on each thread that ``count`` rows are worth; raises what failed."""
        tiles, counter = tiles_of(count, self._threads), np.zeros(1, np.int64)
        threads = min(self._threads, len(tiles) - 1)
        others = [self._pool.submit(work, tiles, counter) for _ in range(threads - 1)]
        work(tiles, counter)
        for other in others:
            other.result()


def tiles_of(count: int, threads: int) -> Tiles:
    """Whole ones, as many for each thread, and what is left of the blocks in equal shares."""
    blocks, most = -(-count // ROWS), TILE_ROWS // ROWS
    full = blocks // (most * threads) * threads
    share = max(1, -(-(blocks - full * most) // threads)) * ROWS
    begins = [np.arange(full) * TILE_ROWS, np.arange(full * TILE_ROWS, count, share)]
    return np.concatenate([*begins, [count]]).astype(np.int64)
