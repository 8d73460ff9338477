"""Hash embedding tables: user, post and author rows, apart from the dense parameters.

They live in their own subtree, `params["tables"]`, so that training can give them a row-wise
optimiser and serving can place them elsewhere (host memory, shards of a mesh). Row 0 is padding:
zeros, never updated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from phoenix.config import ModelConfig
from phoenix.features import CandidateInputs, ContextInputs

Tables = Mapping[str, Any]  # "user", "post", "author" → [rows, E] float
TABLE_NAMES = ("user", "post", "author")
# Products of two rows are what is learned first; from 0.02 they took twice as many steps to matter.
INITIAL_STDDEV = 0.1


class ContextRows(NamedTuple):
    """Embeddings of a context."""

    user: jax.Array  # [B, J, E]
    post: jax.Array  # [B, S, J, E]
    author: jax.Array  # [B, S, J, E]


class CandidateRows(NamedTuple):
    """Embeddings of candidates."""

    post: jax.Array  # [B, C, J, E]
    author: jax.Array  # [B, C, J, E]


def init_tables(config: ModelConfig, seed: int) -> dict[str, jax.Array]:
    """Small normal rows, row 0 zero. Drawn in numpy: the same on every device."""
    rng = np.random.default_rng([seed, 0x7AB1E5])
    rows = (config.user_rows, config.post_rows, config.author_rows)
    return {
        name: _initial(rng, count, config.embedding_width)
        for name, count in zip(TABLE_NAMES, rows, strict=True)
    }


def gather_context(tables: Tables, inputs: ContextInputs) -> ContextRows:
    return ContextRows(
        user=_rows(tables["user"], inputs.user_hashes),
        post=_rows(tables["post"], inputs.history_post_hashes),
        author=_rows(tables["author"], inputs.history_author_hashes),
    )


def gather_candidates(tables: Tables, inputs: CandidateInputs) -> CandidateRows:
    return CandidateRows(
        post=_rows(tables["post"], inputs.post_hashes),
        author=_rows(tables["author"], inputs.author_hashes),
    )


def _rows(table: Any, hashes: Any) -> jax.Array:
    """[rows, E] at [...] → [..., E] float32. A row out of range would be a bug: it yields NaN."""
    return jnp.take(jnp.asarray(table), hashes, axis=0, mode="fill").astype(jnp.float32)


def _initial(rng: np.random.Generator, rows: int, width: int) -> jax.Array:
    values = rng.normal(0.0, INITIAL_STDDEV, (rows, width)).astype(np.float32)
    values[0] = 0.0
    return jnp.asarray(values)
