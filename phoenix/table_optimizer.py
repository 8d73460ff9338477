"""Row-wise AdaGrad for hash embedding tables, touching only the rows of the batch.

    acc_row += mean(g²);   w −= rate · g / (√acc_row + 1e-10)

g is the sum of a row's gradients over the batch. Source: the original's table optimiser (2026-08).
Row 0, padding, is never updated. Cost: O(rows of the batch), whatever the table's size. On a mesh
every device receives the batch's row gradients and updates the rows that it holds; they are summed
in the same order on any number of devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from phoenix.mesh import (
    BATCH,
    EVERYWHERE,
    ROWS,
    Layout,
    all_places,
    own_rows,
    padded_places,
)

Array = jax.Array

EPSILON = 1e-10  # upstream, 2026-08


def init_accumulators(tables: Mapping[str, Any]) -> dict[str, Array]:
    """One number a row, at 0: a row's first step has length `rate`."""
    return {name: jnp.zeros(table.shape[0], jnp.float32) for name, table in tables.items()}


def update(
    table: Array,
    accumulator: Array,
    hashes: Sequence[Array],
    gradients: Sequence[Array],
    rate: Array,
    layout: Layout,
) -> tuple[Array, Array]:
    """One step for one table on a mesh; `gradients` [..., E] are those of `hashes` [...]."""
    rows, flat = flat_places(hashes, gradients)
    if layout.devices == 1:  # the same, without collectives of one
        held = jnp.where(rows != 0, rows, table.shape[0])
        return _update_rows(table, accumulator, held, flat, rate)

    def local(
        table: Array, accumulator: Array, places: Array, flat: Array, rate: Array
    ) -> tuple[Array, Array]:
        places, flat = all_places(places), all_places(flat)
        held, mine = own_rows(table.shape[0], places)
        held = jnp.where(mine & (places != 0), held, table.shape[0])  # out of the part: dropped
        return _update_rows(table, accumulator, held, flat, rate)

    return jax.shard_map(
        local,
        mesh=layout.mesh,
        in_specs=(ROWS, ROWS, BATCH, BATCH, EVERYWHERE),
        out_specs=(ROWS, ROWS),
    )(table, accumulator, padded_places(layout, rows), padded_places(layout, flat), rate)


def flat_places(hashes: Sequence[Any], gradients: Sequence[Array]) -> tuple[Array, Array]:
    """Rows [N] and their gradients [N, E], of all the places that name a row of one table."""
    width = gradients[0].shape[-1]
    rows = jnp.concatenate([jnp.asarray(index).reshape(-1) for index in hashes])
    return rows, jnp.concatenate([gradient.reshape(-1, width) for gradient in gradients])


def _update_rows(
    table: Array, accumulator: Array, held: Array, gradients: Array, rate: Array
) -> tuple[Array, Array]:
    """[R, E] and [R] after gradients [N, E] of the rows `held` [N]; R or more is none of ours."""
    rows, places = table.shape[0], held.shape[0]
    unique, position = jnp.unique(held, return_inverse=True, size=places, fill_value=rows)
    summed = jax.ops.segment_sum(gradients, position, num_segments=places)
    accumulator = accumulator.at[unique].add(jnp.mean(jnp.square(summed), axis=-1), mode="drop")
    known = accumulator.at[unique].get(mode="fill", fill_value=1.0)
    step = summed / (jnp.sqrt(known)[:, None] + EPSILON)
    return table.at[unique].add(-rate * step, mode="drop"), accumulator
