"""What the index on an accelerator runs there: writes of rows, and the search.

N rows, n rows of one write, Q queries, D width, K' rows taken, P and A excluded posts and authors.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

CHUNK_ROWS = 128  # a chunk's best row is one reduction of a register's width on every device


class Columns(NamedTuple):
    """What lies on the device."""

    vectors: Any  # [N, D] float32
    alive: Any  # [N] bool
    created_high: Any  # [N] int32: milliseconds over 2^32
    created_low: Any  # [N] uint32
    authors: Any  # [N] int32: slots


@partial(jax.jit, donate_argnums=0)
def write(columns: Columns, at: Any, new: Columns) -> Columns:
    """Rows `at` of every column."""
    return Columns(
        *(old.at[at].set(part, mode="drop") for old, part in zip(columns, new, strict=True))
    )


@partial(jax.jit, donate_argnums=0)
def hide(alive: Any, at: Any) -> Any:
    """Rows `at` are answered no more."""
    return alive.at[at].set(False, mode="drop")


@partial(jax.jit, static_argnames=("taken", "recall"))
def search(
    columns: Columns,
    queries: Any,
    from_high: Any,
    from_low: Any,
    posts: Any,
    authors: Any,
    *,
    taken: int,
    recall: float | None,
) -> tuple[Any, Any, Any]:
    """Rows [Q, K'] by descending product, the product there, and the scores one by one."""
    rows_max = columns.alive.shape[0]
    high, low = columns.created_high, columns.created_low
    from_high, from_low = from_high[:, None], from_low[:, None]
    allowed = columns.alive & ((high > from_high) | ((high == from_high) & (low >= from_low)))
    put: Any = jax.vmap(lambda mask, at: mask.at[at].set(True, mode="drop"))
    nobody = jnp.zeros((queries.shape[0], rows_max), jnp.bool_)
    allowed &= ~put(nobody, posts) & ~put(nobody, authors)[:, columns.authors]
    product = jnp.matmul(queries, columns.vectors.T, precision=jax.lax.Precision.HIGHEST)
    product = jnp.where(allowed, product, -jnp.inf)
    if recall is not None:
        best, rows = jax.lax.approx_max_k(product, taken, recall_target=recall)
    else:
        best, rows = two_step_top_k(product, taken)
    return rows, best, _sum_in_halves(columns.vectors[rows] * queries[:, None, :])


def _sum_in_halves(values: Any) -> Any:
    """Sums of the last axis, added in one order whatever the other axes: `jnp.sum` has several."""
    width = values.shape[-1]
    whole = 1 << (width - 1).bit_length()
    values = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, whole - width)])
    while values.shape[-1] > 1:
        half = values.shape[-1] // 2
        values = values[..., :half] + values[..., half:]
    return values[..., 0]


def two_step_top_k(scores: Any, k: int) -> tuple[Any, Any]:
    """`lax.top_k` of scores [Q, N], sorting only the chunks that can hold the best."""
    n_queries, rows_max = scores.shape
    if rows_max // CHUNK_ROWS <= 2 * k:
        best, rows = jax.lax.top_k(scores, k)
        return best, rows
    chunks = scores.reshape(n_queries, -1, CHUNK_ROWS)
    at = jax.lax.top_k(chunks.max(axis=-1), k)[1]
    held = jnp.take_along_axis(chunks, at[:, :, None], axis=1).reshape(n_queries, -1)
    best, inside = jax.lax.top_k(held, k)
    first = jnp.take_along_axis(at, inside // CHUNK_ROWS, axis=1) * CHUNK_ROWS
    return best, first + inside % CHUNK_ROWS
