"""The memory's floor: reads so many bytes once, with every core, and does nothing with them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import NDArray

from phoenix.index.memory import reserve

WORDS_AT_ONCE = 1 << 20  # 8 MB: shares that threads take as they come


class Floor:
    """`n_bytes` of memory and the threads that read it."""

    def __init__(self, n_bytes: int, threads: int) -> None:
        self._words = reserve((n_bytes // 8,), np.uint64)
        self._words[:] = np.arange(len(self._words), dtype=np.uint64)
        self._threads = threads
        self._pool = ThreadPoolExecutor(max(1, threads - 1))

    def read(self) -> int:
        """The sum of all words, so that none can be left out."""
        starts = iter(range(0, len(self._words), WORDS_AT_ONCE))

        def share() -> int:
            return sum(int(_sum(self._words[at : at + WORDS_AT_ONCE])) for at in starts)

        others = [self._pool.submit(share) for _ in range(self._threads - 1)]
        return share() + sum(other.result() for other in others)


@numba.njit(nogil=True, cache=True)
def _sum(words: NDArray[np.uint64]) -> np.uint64:
    total = np.uint64(0)
    for word in words:
        total += word
    return total
