"""Exact nearest neighbours over a corpus that changes while it is searched.

Holds what may be answered, nothing else: a post that is deleted or too old is removed. Which posts
those are is `corpus.Corpus`'s business.

The scan reads int8 codes, a quarter of the bytes, and scores in float32 the few rows that their
bounds leave: the same answer as a scan of the float32 rows, which `codes=False` runs instead and
which saves the codes' memory.

N rows, Q queries, D width, K results.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from phoenix.index.codes import encode_rows, n_groups, rounding
from phoenix.index.dots import BLOCK_ROWS, GROUP
from phoenix.index.memory import reserve
from phoenix.index.queries import Queries, queries_of
from phoenix.index.rows import AUTHOR, POST, RowTable
from phoenix.index.scan import (
    Stored,
    Survivors,
    kth_largest,
    look_through_all,
    more_room,
    n_blocks,
    no_survivors,
    scan_blocks,
    score_rows,
)
from phoenix.index.search import (
    Ids,
    SearchRequest,
    SearchResult,
    VectorIndex,
    check_query,
    check_vectors,
)
from service_kit.interpreter import named_pool

# Blocks that a thread takes at a time: about a quarter of a millisecond, so that threads end
# together even where one had less of its core.
_BLOCKS_AT_ONCE = 1024


class ExactIndex(VectorIndex):
    """A `search.VectorIndex` in memory, scanned by every core that the process may use."""

    def __init__(
        self, dimension: int, *, rows_max: int, codes: bool = True, threads: int | None = None
    ) -> None:
        """Up to `rows_max` posts of width `dimension`; address space is reserved for them."""
        self._dimension = dimension
        self._table = table = RowTable(rows_max, self._forget)
        blocks = n_blocks(table.rows_max)
        rows = blocks * BLOCK_ROWS
        self._stored = Stored(
            reserve((rows, dimension), np.float32),
            reserve((blocks if codes else 0, BLOCK_ROWS * GROUP * n_groups(dimension)), np.uint8),
            reserve((rows,), np.float32),
            reserve((rows,), np.float32),
            table.facts,
        )
        self._has_codes = codes
        self._writing = threading.Lock()
        self._threads = threads or _cores()
        self._pool = named_pool(max(1, self._threads - 1), "index-scan")

    def __len__(self) -> int:
        return len(self._table)

    @property
    def dimension(self) -> int:
        """D."""
        return self._dimension

    @property
    def memory_bytes(self) -> int:
        """Bytes of the rows ever used and of the map from id to row."""
        stored, row = self._stored, 4 * self._dimension + 8  # the vector, its scale and error
        row += stored.codes.shape[1] // BLOCK_ROWS if self._has_codes else 0
        return self._table.size * row + self._table.memory_bytes

    @property
    def threads(self) -> int:
        """Threads that scan."""
        return self._threads

    def post_ids(self) -> set[int]:
        """The ids that a search without filters can answer."""
        with self._writing:
            rows = self._table.visible_rows()
            return set(self._stored.facts[rows, POST].tolist())

    def upsert(
        self,
        post_ids: Ids,
        author_ids: Ids,
        created_ms: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> None:
        """Adds posts, or replaces those already here. Vectors are [n, D]; the last of an id holds.

        Adds nothing and raises ValueError for a wrong shape or a vector that is not finite, and
        IndexFullError when more than `rows_max` posts would be held.
        """
        check_vectors(post_ids, vectors, self._dimension)
        with self._writing:
            rows = self._table.place(post_ids)
            self._write(rows, np.ascontiguousarray(vectors, np.float32))
            self._table.publish(rows, post_ids, author_ids, created_ms)

    def remove(self, post_ids: Iterable[int]) -> int:
        """Forgets posts and frees their rows; returns how many were here."""
        gone = np.fromiter(post_ids, np.uint64)
        with self._writing:
            removed = self._table.remove(gone)
            self._table.reclaim()
        return removed

    def search_many(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Each request's answer, from one pass over the rows."""
        for request in requests:
            check_query(request.query, self._dimension)
        asked = [request for request in requests if request.k > 0]
        with self._table.snapshot() as (snapshot, size):
            if not asked or not size:
                return [_nothing() for _ in requests]
            queries = queries_of(asked, self._has_codes, snapshot)
            found = self._scan(queries, size)
            answers = iter([self._answer(queries, q, found) for q in range(len(asked))])
        return [next(answers) if request.k > 0 else _nothing() for request in requests]

    def close(self) -> None:
        """Ends the scan's threads."""
        self._pool.shutdown()

    def _scan(self, queries: Queries, size: int) -> list[Survivors]:
        """What each thread's share of the rows left; threads take shares as they come."""
        blocks = n_blocks(size)
        starts = iter(range(0, blocks, _BLOCKS_AT_ONCE))
        bounds = np.full(len(queries.wanted), -np.inf, np.float32)
        threads = min(self._threads, -(-blocks // _BLOCKS_AT_ONCE))

        def share() -> Survivors:
            return self._share(queries, blocks, starts, bounds)

        others = [self._pool.submit(share) for _ in range(threads - 1)]
        mine = share()
        return [mine, *(other.result() for other in others)]

    def _share(
        self, queries: Queries, blocks: int, starts: Iterator[int], bounds: NDArray[np.float32]
    ) -> Survivors:
        found = no_survivors(queries.wanted, blocks * BLOCK_ROWS, bounds)
        for start in starts:
            at, last = start, min(start + _BLOCKS_AT_ONCE, blocks)
            while (at := scan_blocks(self._stored, queries, at, last, found)) < last:
                found = more_room(found)
        look_through_all(self._stored, queries, found)
        return found

    def _answer(self, queries: Queries, q: int, found: Sequence[Survivors]) -> SearchResult:
        """Scores in float32 what may be among the best, and takes the best."""
        counts = [part.counts[q, 0] for part in found]
        rows, lows, highs = (
            np.concatenate([part[at][q, :n] for part, n in zip(found, counts, strict=True)])
            for at in range(3)
        )
        k = int(queries.wanted[q])
        if len(rows) > k:
            rows = rows[highs >= kth_largest(lows, k)]
        scores = score_rows(self._stored.vectors, rows, queries.vectors, q)
        best = best_first(scores, self._stored.facts[rows, POST], k)
        rows = rows[best]
        facts = self._stored.facts
        return SearchResult(facts[rows, POST], facts[rows, AUTHOR], scores[best])

    def _write(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        stored = self._stored
        stored.vectors[rows] = vectors
        if self._has_codes:
            encode_rows(vectors, rows, stored.codes, stored.scales, stored.errors)
        else:
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            stored.scales[rows] = 1.0
            stored.errors[rows] = 2 * rounding(self._dimension) * norms

    def _forget(self, rows: NDArray[np.int64]) -> None:
        """Rows of posts that went never reach a bound from here on."""
        self._stored.errors[rows] = -np.inf


def best_first(scores: NDArray[np.float32], post_ids: Ids, k: int) -> NDArray[np.int64]:
    """Places of the best `k`, by score and then post id, both descending."""
    if k <= 0:
        return np.empty(0, np.int64)
    if len(scores) > k:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    else:
        kept = np.arange(len(scores))
    order = np.lexsort((post_ids[kept], scores[kept]))[::-1]
    return kept[order[:k]]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _nothing() -> SearchResult:
    return SearchResult(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.float32))
