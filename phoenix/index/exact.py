"""Exact nearest neighbours over a corpus that changes while it is searched.

Holds what may be answered, nothing else: a post that is deleted or too old is removed, and its row
is given to the next post. Which posts those are is `corpus.Corpus`'s business.

Exact means a float32 scan of every row (one cache-friendly pass, see `scan`). An int8 scan with
float32 rescoring reads a quarter of the bytes but is exact only in practice, not by construction.

N rows, D width, K results.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phoenix.index.scan import scan_top_k

ROWS_AT_START = 1024  # doubles from here, so that small deployments stay small

Ids = NDArray[np.uint64]


def _no_ids() -> Ids:
    return np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What a search must not answer. Arrays need no order and may hold duplicates."""

    created_from_ms: int = 0
    excluded_post_ids: Ids = field(default_factory=_no_ids)
    excluded_author_ids: Ids = field(default_factory=_no_ids)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best posts, best first; equal scores by larger post id. Arrays are [K] or shorter."""

    post_ids: Ids
    author_ids: Ids
    scores: NDArray[np.float32]


class IndexFullError(RuntimeError):
    """The index would have to grow past its limit."""


class ExactIndex:
    """Unit vectors by post id, with inserts, removals and filtered exact search.

    Safe to use from several threads: one lock, held for the length of a scan.
    """

    def __init__(self, dimension: int, *, rows_max: int) -> None:
        self._dimension = dimension
        self._rows_max = rows_max
        self._lock = threading.Lock()
        self._row_of: dict[int, int] = {}
        self._free: list[int] = []
        self._size = 0  # rows ever used; rows behind it are untouched
        rows = min(ROWS_AT_START, rows_max)
        self._vectors = np.zeros((rows, dimension), np.float32)
        self._post_ids, self._author_ids = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
        self._created_ms, self._used = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def dimension(self) -> int:
        """D."""
        return self._dimension

    @property
    def memory_bytes(self) -> int:
        """Bytes held by the arrays."""
        arrays = (self._vectors, self._post_ids, self._author_ids, self._created_ms, self._used)
        return sum(array.nbytes for array in arrays)

    def post_ids(self) -> set[int]:
        """The ids that a search without filters can answer."""
        with self._lock:
            return set(self._row_of)

    def upsert(
        self,
        post_ids: Ids,
        author_ids: Ids,
        created_ms: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> None:
        """Adds posts, or replaces those already here. Vectors are [n, D].

        Raises ValueError for a wrong shape or a vector that is not finite (nothing is added), and
        IndexFullError when more than `rows_max` posts would be held.
        """
        self._check(post_ids, vectors)
        with self._lock:
            for at, post_id in enumerate(post_ids.tolist()):
                row = self._row_for(post_id)
                self._vectors[row] = vectors[at]
                self._post_ids[row] = post_id
                self._author_ids[row] = author_ids[at]
                self._created_ms[row] = created_ms[at]
                self._used[row] = True

    def remove(self, post_ids: Iterable[int]) -> int:
        """Forgets posts and frees their rows; returns how many were here."""
        removed = 0
        with self._lock:
            for post_id in post_ids:
                row = self._row_of.pop(post_id, None)
                if row is not None:
                    self._used[row] = False
                    self._free.append(row)
                    removed += 1
        return removed

    def search(
        self, query: NDArray[np.float32], k: int, filters: SearchFilters | None = None
    ) -> SearchResult:
        """The `k` best posts for `query` [D] that the filters allow."""
        if query.shape != (self._dimension,):
            raise ValueError(f"query has shape {query.shape}, expected ({self._dimension},)")
        if not np.isfinite(query).all():
            raise ValueError("query holds a value that is not finite")
        allowed = filters or SearchFilters()
        posts = np.unique(allowed.excluded_post_ids)
        authors = np.unique(allowed.excluded_author_ids)
        with self._lock:
            return self._scan(query, k, allowed.created_from_ms, posts, authors)

    def _scan(
        self, query: NDArray[np.float32], k: int, created_from_ms: int, posts: Ids, authors: Ids
    ) -> SearchResult:
        rows, scores = scan_top_k(
            self._vectors,
            self._post_ids,
            self._author_ids,
            self._created_ms,
            self._used,
            self._size,
            np.ascontiguousarray(query, np.float32),
            max(0, min(k, len(self._row_of))),
            created_from_ms,
            posts,
            authors,
        )
        ids = self._post_ids[rows]
        order = np.lexsort((ids, scores))[::-1]
        return SearchResult(ids[order], self._author_ids[rows[order]], scores[order])

    def _check(self, post_ids: Ids, vectors: NDArray[np.float32]) -> None:
        expected = (len(post_ids), self._dimension)
        if vectors.shape != expected:
            raise ValueError(f"vectors have shape {vectors.shape}, expected {expected}")
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"the vector of post {post_ids[int(np.argmin(finite))]} is not finite; "
                "the candidate tower is broken or its checkpoint is"
            )

    def _row_for(self, post_id: int) -> int:
        row = self._row_of.get(post_id)
        if row is not None:
            return row
        row = self._free.pop() if self._free else self._next_row()
        self._row_of[post_id] = row
        return row

    def _next_row(self) -> int:
        if self._size == len(self._used):
            if self._size >= self._rows_max:
                raise IndexFullError(
                    f"the index holds its limit of {self._rows_max} posts; raise index_posts_max"
                )
            self._grow(min(2 * self._size, self._rows_max))
        self._size += 1
        return self._size - 1

    def _grow(self, rows: int) -> None:
        """Lengthens every array to `rows` rows; the new ones are zero."""
        more = rows - self._size
        self._vectors = np.concatenate(
            [self._vectors, np.zeros((more, self._dimension), np.float32)]
        )
        self._post_ids = np.concatenate([self._post_ids, np.zeros(more, np.uint64)])
        self._author_ids = np.concatenate([self._author_ids, np.zeros(more, np.uint64)])
        self._created_ms = np.concatenate([self._created_ms, np.zeros(more, np.int64)])
        self._used = np.concatenate([self._used, np.zeros(more, np.bool_)])
