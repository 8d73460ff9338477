"""Row-wise AdaGrad for hash embedding tables, touching only the rows of the batch.

    acc_row += mean(g²);   w −= rate · g / (√acc_row + 1e-10)

g is the sum of a row's gradients over the batch. Source: the original's table optimiser (2026-08).
Row 0, padding, is never updated. Cost: O(rows of the batch), whatever the table's size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array

EPSILON = 1e-10  # upstream, 2026-08


def init_accumulators(tables: Mapping[str, Array]) -> dict[str, Array]:
    """One number a row, at 0: a row's first step has length `rate`."""
    return {name: jnp.zeros(table.shape[0], jnp.float32) for name, table in tables.items()}


def take_rows(tables: Mapping[str, Array], hashes: Mapping[str, Sequence[Array]]) -> Any:
    """{"post": ([...], ...)} → {"post": ([..., E], ...)}: what the gradient is taken by."""
    return {
        name: tuple(jnp.take(tables[name], index, axis=0, mode="fill") for index in indices)
        for name, indices in hashes.items()
    }


def update(
    table: Array,
    accumulator: Array,
    hashes: Sequence[Array],
    gradients: Sequence[Array],
    rate: Array,
) -> tuple[Array, Array]:
    """One step for one table; `gradients` [..., E] are those of `hashes` [...]."""
    width = table.shape[1]
    rows = jnp.concatenate([index.reshape(-1) for index in hashes])
    flat = jnp.concatenate([gradient.reshape(-1, width) for gradient in gradients])
    unique, position = jnp.unique(rows, return_inverse=True, size=rows.shape[0], fill_value=0)
    summed = jax.ops.segment_sum(flat, position, num_segments=rows.shape[0])
    summed = jnp.where((unique != 0)[:, None], summed, 0.0)
    accumulator = accumulator.at[unique].add(jnp.mean(jnp.square(summed), axis=-1))
    step = summed / (jnp.sqrt(accumulator[unique])[:, None] + EPSILON)
    return table.at[unique].add(-rate * step), accumulator
