"""Posts as clustered unit vectors: topics in a subspace, with noise, as a trained tower makes them.

N posts, D width, Q queries, K results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.index.memory import reserve
from phoenix.index.search import SearchFilters

TOPICS, SUBSPACE, NOISE = 4_000, 48, 0.7
AUTHORS = 100_000
AT_ONCE = 4_096  # posts of an insert, as phoenix embeds them
Float = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class World:
    """Posts with ids 1 to N in order, and queries; vectors are [N, D], queries [Q, D]."""

    post_ids: NDArray[np.uint64]
    author_ids: NDArray[np.uint64]
    created_ms: NDArray[np.int64]
    vectors: Float
    queries: Float

    def batches(self) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Columns of `AT_ONCE` posts at a time."""
        for start in range(0, len(self.post_ids), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            yield (
                self.post_ids[part],
                self.author_ids[part],
                self.created_ms[part],
                self.vectors[part],
            )


def make_world(posts: int, dimension: int, n_queries: int, seed: int = 0) -> World:
    """The same posts for the same arguments."""
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(SUBSPACE, dimension)) / np.sqrt(SUBSPACE)
    topics = (rng.normal(size=(TOPICS, SUBSPACE)) @ basis).astype(np.float32)
    vectors = reserve((posts, dimension), np.float32)
    for start in range(0, posts, AT_ONCE):
        part = vectors[start : start + AT_ONCE]
        part[:] = unit_vectors(topics, len(part), rng)
    ids = np.arange(1, posts + 1, dtype=np.uint64)
    authors = rng.integers(1, AUTHORS, posts).astype(np.uint64)
    return World(ids, authors, ids.astype(np.int64), vectors, unit_vectors(topics, n_queries, rng))


def unit_vectors(topics: Float, n: int, rng: np.random.Generator) -> Float:
    """`n` points around topics drawn at random, [n, D]."""
    noise = rng.standard_normal((n, topics.shape[1]), np.float32)
    points = topics[rng.integers(0, len(topics), n)] + np.float32(NOISE) * noise
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def reference(world: World, query: Float, k: int) -> NDArray[np.int64]:
    """Rows of the best `k` by float64 scores."""
    scores = np.concatenate(
        [part[3].astype(np.float64) @ query.astype(np.float64) for part in world.batches()]
    )
    return np.argsort(-scores)[:k]


def filters_of(world: World, seen: int, seed: int = 1) -> SearchFilters:
    """A viewer's seen posts, half of them among the best of one query, and 100 blocked authors."""
    rng = np.random.default_rng(seed)
    seen = min(seen, len(world.post_ids) // 2)
    best = world.post_ids[reference(world, world.queries[0], seen // 2)]
    others = rng.choice(world.post_ids, seen - len(best), replace=False)
    blocked = rng.integers(1, AUTHORS, 100).astype(np.uint64)
    return SearchFilters(1, np.concatenate([best, others]), blocked)
