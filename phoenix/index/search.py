"""What a search is asked, what it answers, and what every index can do.

D width, K results.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint64]
Vector = NDArray[np.float32]
IndexKind = Literal["int8", "float32", "device", "device_approximate"]  # made by `kinds`


def _no_ids() -> Ids:
    return np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """What a search must not answer. Arrays need no order and may hold duplicates."""

    created_from_ms: int = 0
    excluded_post_ids: Ids = field(default_factory=_no_ids)
    excluded_author_ids: Ids = field(default_factory=_no_ids)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One of several searches that share a pass over the rows: `query` is [D]."""

    query: Vector
    k: int
    filters: SearchFilters = field(default_factory=SearchFilters)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The best posts, best first; equal scores by larger post id. Arrays are [K] or shorter."""

    post_ids: Ids
    author_ids: Ids
    scores: NDArray[np.float32]


class IndexFullError(RuntimeError):
    """The index would have to grow past its limit."""


class VectorIndex(Protocol):
    """Unit vectors by post id, searched and changed by several threads at once.

    A search answers what was here when it began: a post whose removal returned before is never
    answered, an insert that returned before is found, and a batch of either counts as a whole.
    """

    def __len__(self) -> int:
        """Posts held."""
        ...

    @property
    def dimension(self) -> int:
        """D."""
        ...

    @property
    def memory_bytes(self) -> int:
        """Bytes that its arrays take."""
        ...

    def post_ids(self) -> set[int]:
        """The ids that a search without filters can answer."""
        ...

    def upsert(
        self,
        post_ids: Ids,
        author_ids: Ids,
        created_ms: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> None:
        """Adds posts, or replaces those already here. Vectors are [n, D].

        Adds nothing and raises ValueError for a wrong shape or a vector that is not finite, and
        IndexFullError when more than its limit of posts would be held.
        """
        ...

    def remove(self, post_ids: Iterable[int]) -> int:
        """Forgets posts; returns how many were here."""
        ...

    def search(self, query: Vector, k: int, filters: SearchFilters | None = None) -> SearchResult:
        """The `k` best posts for `query` [D] that the filters allow."""
        return self.search_many([SearchRequest(query, k, filters or SearchFilters())])[0]

    def search_many(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Each request's answer, from one pass over the rows."""
        ...


VALUE_MAX = 1e15  # a dot product of two such vectors is still a float32


def check_query(query: Vector, dimension: int) -> None:
    """Raises ValueError unless `query` is [D] and finite."""
    if query.shape != (dimension,):
        raise ValueError(f"query has shape {query.shape}, expected ({dimension},)")
    if not np.isfinite(query).all():
        raise ValueError("query holds a value that is not finite")
    if np.abs(query).max(initial=0.0) > VALUE_MAX:
        raise ValueError(f"query holds a value beyond {VALUE_MAX:g}; unit vectors are expected")


def check_vectors(post_ids: Ids, vectors: NDArray[np.float32], dimension: int) -> None:
    """Raises ValueError unless `vectors` is [n, D] and finite; names the first post at fault."""
    expected = (len(post_ids), dimension)
    if vectors.shape != expected:
        raise ValueError(f"vectors have shape {vectors.shape}, expected {expected}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the vector of post {post_ids[int(np.argmin(finite))]} is not finite; "
            "the candidate tower is broken or its checkpoint is"
        )
    small = (np.abs(vectors) <= VALUE_MAX).all(axis=1)
    if not small.all():
        raise ValueError(
            f"the vector of post {post_ids[int(np.argmin(small))]} holds a value beyond "
            f"{VALUE_MAX:g}; unit vectors are expected"
        )
