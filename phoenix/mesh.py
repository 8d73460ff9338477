"""Where the arrays of a training live: one device, several, or those of several processes.

Glossary: N places of a batch that name a row, E table width, n devices, d of them along "data".

The mesh has the axes ("data", "model"). A batch is cut along "data"; the dense parameters are on
every device; an embedding table and its accumulator are cut by row over all n devices, so that a
table may be n times as large as what one device holds. One device is a mesh of one: the same code.

No device ever sees a whole table. To read rows, each device gathers the batch's row numbers (4
bytes a place), takes those that it holds, zeros for the rest, and a reduce-scatter sums the parts:
N · E numbers travel, whatever the size of the table. A sum of one row and zeros is exact, so the
values do not depend on the number of devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

Array = jax.Array

DATA, MODEL = "data", "model"
_spec: Callable[..., PartitionSpec] = PartitionSpec  # JAX leaves its constructor untyped
ROWS = _spec((DATA, MODEL))  # a table, an accumulator: by row over all devices
BATCH = _spec(DATA)
EVERYWHERE = _spec()


@dataclass(frozen=True, slots=True)
class Layout:
    """A mesh, and what goes where on it."""

    mesh: Mesh

    @classmethod
    def of(cls, devices: int | None = None, model_devices: int = 1) -> Layout:
        """The first `devices` devices (None: all, of all processes), `model_devices` along "model".

        ValueError: there are not so many, or one does not divide the other, or a process would
        have none.
        """
        present = jax.devices()
        count = len(present) if devices is None else devices
        if not 1 <= count <= len(present):
            raise ValueError(
                f"{count} devices were asked for and JAX sees {len(present)} "
                f"({present[0].platform}); on CPU, "
                f"XLA_FLAGS=--xla_force_host_platform_device_count={count} makes as many"
            )
        if count % model_devices:
            raise ValueError(
                f"{model_devices} devices along the model axis do not divide the {count} in all"
            )
        if jax.process_count() > 1 and count != len(present):
            raise ValueError(
                f"with {jax.process_count()} processes all {len(present)} devices take part; leave "
                f"the number of devices ({count}) out"
            )
        grid = np.array(present[:count]).reshape(count // model_devices, model_devices)
        return cls(Mesh(grid, (DATA, MODEL), axis_types=(AxisType.Auto, AxisType.Auto)))

    @property
    def devices(self) -> int:
        return int(self.mesh.size)

    @property
    def data_devices(self) -> int:
        return int(self.mesh.shape[DATA])

    def sharding(self, spec: PartitionSpec) -> NamedSharding:
        return NamedSharding(self.mesh, spec)

    def padded_rows(self, rows: int) -> int:
        """Rows of a table on this mesh: a multiple of the devices; what is added is never read."""
        return -(-rows // self.devices) * self.devices

    def place_table(self, table: Any) -> Array:
        """[rows, ...] → [padded rows, ...], cut by row over all devices."""
        values = np.asarray(table)
        missing = self.padded_rows(values.shape[0]) - values.shape[0]
        if missing:
            values = np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])
        return self._place(values, ROWS)

    def place_dense(self, tree: Any) -> Any:
        """A copy on every device."""
        return jax.tree.map(lambda leaf: self._place(np.asarray(leaf), EVERYWHERE), tree)

    def place_batch(self, tree: Any) -> Any:
        """Cut along the first axis where the devices divide it, else a copy on each."""
        return jax.tree.map(
            lambda leaf: self._place(np.asarray(leaf), self._batch_spec(leaf)), tree
        )

    def _batch_spec(self, leaf: Any) -> PartitionSpec:
        shape = np.shape(leaf)
        return BATCH if shape and shape[0] % self.data_devices == 0 else EVERYWHERE

    def _place(self, values: NDArray[Any], spec: PartitionSpec) -> Array:
        sharding = self.sharding(spec)
        if sharding.is_fully_addressable:
            placed: Array = jax.device_put(values, sharding)
            return placed
        # Of several processes each puts the parts that its own devices hold.
        return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])


def to_host(tree: Any) -> Any:
    """Numpy copies, which no later step overwrites. Of several processes all must call it."""
    return jax.tree.map(_leaf_to_host, tree)


def _leaf_to_host(leaf: Any) -> NDArray[Any]:
    if leaf.is_fully_addressable:
        return np.array(leaf)
    if leaf.is_fully_replicated:
        return np.array(leaf.addressable_data(0))
    from jax.experimental import multihost_utils  # imports flax-like extras: only where needed

    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


def take_rows(
    layout: Layout, tables: Mapping[str, Array], hashes: Mapping[str, Sequence[Array]]
) -> dict[str, tuple[Array, ...]]:
    """{"post": ([...], ...)} → {"post": ([..., E], ...)}: what the gradient is taken by."""
    return {
        name: tuple(_take(layout, tables[name], index) for index in indices)
        for name, indices in hashes.items()
    }


def _take(layout: Layout, table: Array, index: Any) -> Array:
    """[rows, E] at [...] → [..., E]. A row out of range would be a bug: it yields NaN."""
    width, index = table.shape[1], jnp.asarray(index)

    def local(part: Array, places: Array) -> Array:  # [rows / n, E], [N / d] → [N / d, E]
        held, mine = own_rows(part.shape[0], all_places(places))
        rows = jnp.where(mine[:, None], part.at[held].get(mode="clip"), 0.0)
        return _summed_shares(rows)

    if layout.devices == 1:  # the same, without collectives of one
        found: Array = table.at[index].get(mode="fill")
        return found
    places = padded_places(layout, index.reshape(-1))
    taken = jax.shard_map(local, mesh=layout.mesh, in_specs=(ROWS, BATCH), out_specs=BATCH)(
        table, places
    )
    valid = (index >= 0) & (index < table.shape[0])
    rows = taken[: index.size].reshape(*index.shape, width)
    return jnp.where(valid[..., None], rows, jnp.nan)


def _summed_shares(rows: Array) -> Array:
    """Inside a `shard_map`: [N, E] parts of all devices → their sum's [N / d, E] on each."""
    lax: Any = jax.lax
    shares: Array = lax.psum_scatter(lax.psum(rows, MODEL), DATA, scatter_dimension=0, tiled=True)
    return shares


def padded_places(layout: Layout, values: Array) -> Array:
    """[N, ...] → a multiple of the data devices, filled with zeros."""
    missing = -values.shape[0] % layout.data_devices
    if not missing:
        return values
    return jnp.concatenate([values, jnp.zeros((missing, *values.shape[1:]), values.dtype)])


def all_places(values: Array) -> Array:
    """Inside a `shard_map`: [N / d, ...] of each device → [N, ...] on every one, in order."""
    gathered: Array = jax.lax.all_gather(values, DATA, tiled=True)
    return gathered


def own_rows(rows: int, places: Array) -> tuple[Array, Array]:
    """Inside a `shard_map` over tables: places as rows of this device's part; which are in it."""
    held = places - rows * jax.lax.axis_index((DATA, MODEL))
    return held, (held >= 0) & (held < rows)
