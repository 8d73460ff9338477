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

from phoenix.config import ModelConfig, RankerConfig
from phoenix.features import CandidateInputs, ContextInputs

Tables = Mapping[str, Any]  # "user", "post", "author" → [rows, E] float
TABLE_NAMES = ("user", "post", "author")
RATES = "_rates"  # "post_rates" beside "post": counts, where the model reads past rates
# Products of two rows are what is learned first; from 0.02 they took twice as many steps to matter.
INITIAL_STDDEV = 0.1


class ContextRows(NamedTuple):
    """Embeddings of a context."""

    user: jax.Array  # [B, J, E]
    post: jax.Array  # [B, S, J, E]
    author: jax.Array  # [B, S, J, E]
    tag: jax.Array | None = None  # [B, S, G, E]
    user_rates: jax.Array | None = None  # [B, 2A] counts: see phoenix.rates
    wide: jax.Array | None = None  # [B, 2 + K]: see phoenix.wide; None in training


class CandidateRows(NamedTuple):
    """Embeddings of candidates."""

    post: jax.Array  # [B, C, J, E]
    author: jax.Array  # [B, C, J, E]
    tag: jax.Array | None = None  # [B, C, G, E]
    rates: tuple[jax.Array, ...] = ()  # of post, author and, if read, tags: [B, C, 2A] counts
    wide: jax.Array | None = None  # [B, C, 2 + K]


def init_tables(config: ModelConfig, seed: int) -> dict[str, jax.Array]:
    """Small normal rows, row 0 zero. Drawn in numpy: the same on every device."""
    rng = np.random.default_rng([seed, 0x7AB1E5])
    rows = (config.user_rows, config.post_rows, config.author_rows)
    tables = {
        name: _initial(rng, count, config.embedding_width)
        for name, count in zip(TABLE_NAMES, rows, strict=True)
    }
    if isinstance(config, RankerConfig) and config.tag_rows:
        tables["tag"] = _initial(rng, config.tag_rows, config.embedding_width)
    return tables | {name: jnp.zeros(shape) for name, shape in rate_table_shapes(config).items()}


def rate_table_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Tables of counts [rows, 2A] beside the embeddings: nothing learns them, they are counted."""
    if not isinstance(config, RankerConfig) or not config.rates:
        return {}
    rows = {"post": config.post_rows, "author": config.author_rows, "user": config.user_rows}
    if config.tag_rows:
        rows["tag"] = config.tag_rows
    return {f"{name}{RATES}": (count, 2 * config.num_actions) for name, count in rows.items()}


def gather_context(tables: Tables, inputs: ContextInputs) -> ContextRows:
    return ContextRows(
        user=_rows(tables["user"], inputs.user_hashes),
        post=_rows(tables["post"], inputs.history_post_hashes),
        author=_rows(tables["author"], inputs.history_author_hashes),
        tag=_optional_rows(tables, "tag", inputs.history_tag_hashes),
        user_rates=_counts(tables, "user", inputs.user_hashes),
    )


def gather_candidates(tables: Tables, inputs: CandidateInputs) -> CandidateRows:
    tags = None if inputs.tag_hashes is None else inputs.tag_hashes[..., None]
    rates = (
        _counts(tables, "post", inputs.post_hashes),
        _counts(tables, "author", inputs.author_hashes),
        None if tags is None else _tag_counts(tables, tags),
    )
    return CandidateRows(
        post=_rows(tables["post"], inputs.post_hashes),
        author=_rows(tables["author"], inputs.author_hashes),
        tag=_optional_rows(tables, "tag", inputs.tag_hashes),
        rates=tuple(counts for counts in rates if counts is not None),
    )


def _rows(table: Any, hashes: Any) -> jax.Array:
    """[rows, E] at [...] → [..., E] float32. A row out of range would be a bug: it yields NaN."""
    return jnp.take(jnp.asarray(table), hashes, axis=0, mode="fill").astype(jnp.float32)


def _optional_rows(tables: Tables, name: str, hashes: Any) -> jax.Array | None:
    return None if hashes is None else _rows(tables[name], hashes)


def _counts(tables: Tables, name: str, hashes: Any) -> jax.Array | None:
    """Counts [..., 2A] of the ids with these hashes [..., J]; None: the model reads no rates.

    Several ids may share a row, so a row's counts are too high or right; the row of an id that is
    shared least is the best estimate (count-min sketch, Cormode and Muthukrishnan 2005).
    """
    if name + RATES not in tables:
        return None
    found = _rows(tables[name + RATES], hashes)
    return jax.lax.stop_gradient(found.min(axis=-2))


def _tag_counts(tables: Tables, hashes: Any) -> jax.Array | None:
    """Counts [B, C, 2A] over all tags [B, C, G, 1] of a post."""
    counts = _counts(tables, "tag", hashes)
    return None if counts is None else counts.sum(axis=-2)


def _initial(rng: np.random.Generator, rows: int, width: int) -> jax.Array:
    values = rng.normal(0.0, INITIAL_STDDEV, (rows, width)).astype(np.float32)
    values[0] = 0.0
    return jnp.asarray(values)
