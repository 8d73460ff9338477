"""What our index is compared with: one product and a top-k, in numpy, in JAX, in faiss.

Each searches queries [Q, D] and answers rows and scores, both [Q, K], best first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Answer = tuple[Any, Any]
RESCORED = 3  # times k: what faiss rescores in float32 after its 4-bit codes


@dataclass(frozen=True, slots=True)
class Peer:
    """A contestant; an exact one must answer our scores, a slow one has fewer turns."""

    name: str
    search: Callable[[Any], Answer]
    exact: bool
    slow: bool = False


def product_peers(vectors: Any, k: int) -> list[Peer]:
    """Numpy, JAX jitted, and JAX line by line as the original calls it; `vectors` [N, D]."""
    rows = jnp.from_dlpack(vectors)  # the same memory, not a copy

    def eager(queries: Any) -> Answer:
        scores = jnp.matmul(jnp.asarray(queries), rows.T)
        best, at = jax.lax.top_k(scores, k)
        return np.asarray(at), np.asarray(best)

    @jax.jit
    def product(queries: Any, rows: Any) -> Any:
        return jax.lax.top_k(queries @ rows.T, k)

    def jitted(queries: Any) -> Answer:
        best, at = product(queries, rows)
        return np.asarray(at), np.asarray(best)

    def plain(queries: Any) -> Answer:
        scores = queries @ vectors.T
        at = np.argpartition(scores, -k, axis=1)[:, -k:]
        found = np.take_along_axis(scores, at, axis=1)
        order = np.argsort(-found, axis=1)
        return np.take_along_axis(at, order, axis=1), np.take_along_axis(found, order, axis=1)

    return [
        Peer("jax jit matmul + top_k", jitted, True),
        Peer("numpy matmul + argpartition", plain, True),
        Peer("upstream's shape: eager matmul + top_k", eager, True, slow=True),
    ]


def faiss_peers(vectors: Any, k: int) -> tuple[list[Peer], list[str]]:
    """Faiss' exact scan, its 8-bit scan, and 4-bit codes with rescoring."""
    try:
        import faiss
    except ImportError:
        return [], ["faiss is not installed (uv sync --group bench): its three are left out"]
    dimension = vectors.shape[1]
    kinds = {
        "faiss IndexFlatIP": ("Flat", True),
        "faiss SQ8": ("SQ8", False),
        f"faiss PQ{dimension}x4fs, {RESCORED}k rescored": (f"PQ{dimension}x4fs,RFlat", False),
    }
    peers = []
    for name, (factory, exact) in kinds.items():
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:: max(1, len(vectors) // 100_000)])
        index.add(vectors)
        if "RFlat" in factory:
            index.k_factor = RESCORED
        peers.append(Peer(name, lambda queries, of=index: of.search(queries, k)[::-1], exact))
    return peers, []
