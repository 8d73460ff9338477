"""One jitted optimisation step: a dense optimiser, and row-wise AdaGrad for the tables.

Glossary: U distinct rows that a batch reads of a host table, N places that name one, E table width.

The same step runs on one device and on a mesh (`phoenix.mesh`): the loss is written over the whole
batch, and the compiler cuts it along the devices; so in-batch negatives are those of all devices.
Tables that live on the host (`phoenix.host_tables`) come in as the batch's rows and leave as those
rows' gradients. A step whose loss or gradients are not finite changes nothing and is counted.

With `average_decay` d the dense parameters θ are averaged over the last steps (Polyak and Juditsky
1992, as an exponential mean), which takes the noise of the last batches out of them:

    mean ← mean + (1 − min(d, n / (n + 1))) (θ − mean), n steps having been taken before

Tables are as they are: most of their rows a step does not touch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from phoenix import table_optimizer
from phoenix.mesh import EVERYWHERE, ROWS, Layout, take_rows
from phoenix.optimizers import DenseOptimizer
from phoenix.tasks import Hashes, Inputs, Rows, Task
from phoenix.training_options import TrainingOptions

Array = jax.Array


class TrainState(NamedTuple):
    """Everything that a step reads and writes; a pytree."""

    params: Any  # {"dense": ..., "tables": ...}
    optimizer: Any  # of the dense parameters
    accumulators: Any  # of the tables
    average: Any  # of the dense parameters over the last steps; None: not kept
    step: Array  # int32, steps taken, skipped ones included
    skipped: Array  # int32, of them with non-finite gradients


class HostRows(NamedTuple):
    """What a batch reads of one host table."""

    rows: Any  # [U, E]
    places: tuple[Any, ...]  # as the task's hashes of this table, but numbers of `rows`


class StepInputs(NamedTuple):
    """What a step reads beside the state."""

    inputs: Inputs
    host: Mapping[str, HostRows]  # by table; empty: all tables are on the devices


class StepReport(NamedTuple):
    """What a step tells the curves, and the gradients [U, E] of the rows of host tables."""

    loss: Array
    parts: Mapping[str, Array]
    gradient_norm: Array
    host_gradients: Mapping[str, Array]


def init_state(params: Any, options: TrainingOptions, layout: Layout) -> TrainState:
    """Parameters and a fresh optimiser, placed on the mesh."""
    return place_state(
        TrainState(
            params=params,
            optimizer=DenseOptimizer.of(options.optimizer, params["dense"]).init(),
            accumulators=table_optimizer.init_accumulators(params["tables"]),
            average=jax.tree.map(jnp.copy, params["dense"]) if options.average_decay else None,
            step=jnp.int32(0),
            skipped=jnp.int32(0),
        ),
        layout,
    )


def place_state(state: TrainState, layout: Layout) -> TrainState:
    """The state on the mesh: dense parameters on every device, tables cut by row."""
    tables = {name: layout.place_table(t) for name, t in state.params["tables"].items()}
    return TrainState(
        params={"dense": layout.place_dense(state.params["dense"]), "tables": tables},
        optimizer=layout.place_dense(state.optimizer),
        accumulators={name: layout.place_table(a) for name, a in state.accumulators.items()},
        average=None if state.average is None else layout.place_dense(state.average),
        step=layout.place_dense(state.step),
        skipped=layout.place_dense(state.skipped),
    )


class Step:
    """(state, step inputs, dense rate, table rate) → (state, report); the old state is given up.

    Compiled at the first call, for its shapes: a later call of other shapes is a TypeError.
    """

    def __init__(self, task: Task, options: TrainingOptions, layout: Layout, dense: Any) -> None:
        self._task, self._options, self._layout = task, options, layout
        self._optimizer = DenseOptimizer.of(options.optimizer, dense)
        self._compiled: Any = None

    def __call__(
        self, state: TrainState, batch: StepInputs, rate: Array, table_rate: Array
    ) -> tuple[TrainState, StepReport]:
        if self._compiled is None:
            self._compiled = self.lower(state, batch, rate, table_rate).compile()
        result: tuple[TrainState, StepReport] = self._compiled(state, batch, rate, table_rate)
        return result

    def lower(self, state: TrainState, *arguments: Any) -> Any:
        """The step traced for these arguments; `.compile().as_text()` shows what will run."""
        shardings = self._state_shardings(state), self._layout.sharding(EVERYWHERE)
        jitted = jax.jit(
            self._step,
            donate_argnums=0,
            out_shardings=shardings,
            compiler_options=_compiler_options(),
        )
        return jitted.lower(state, *arguments)

    @property
    def flops(self) -> float | None:
        """Floating-point operations of a step on all devices, by XLA's count; None: not known."""
        costs = self._compiled.cost_analysis() if self._compiled is not None else None
        flops = (costs or {}).get("flops")
        return flops * self._layout.devices if flops and flops > 0 else None

    def _step(
        self, state: TrainState, batch: StepInputs, rate: Array, table_rate: Array
    ) -> tuple[TrainState, StepReport]:
        flat, unflatten = ravel_pytree(state.params["dense"])
        tables = state.params["tables"]
        hashes = {
            name: places
            for name, places in self._task.hashes(batch.inputs).items()
            if name not in batch.host
        }

        def loss_of(flat: Array, rows: Rows) -> tuple[Array, Any]:
            return self._task.loss(unflatten(flat), rows, batch.inputs)

        rows = take_rows(self._layout, tables, hashes) | _host_rows(batch.host)
        (loss, parts), (gradient, row_gradients) = jax.value_and_grad(
            loss_of, argnums=(0, 1), has_aux=True
        )(flat, rows)
        norm = jnp.linalg.norm(gradient)
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        usable = jax.tree.map(lambda g: jnp.where(finite, g, 0.0), row_gradients)
        direction, optimizer = self._optimizer.direction(gradient, state.optimizer)
        decay = self._options.weight_decay * self._optimizer.decayed * flat
        new_flat = jnp.where(finite, flat - rate * (direction + decay), flat)
        new_tables, accumulators = self._update_tables(state, hashes, usable, table_rate)
        dense = unflatten(new_flat)
        new_state = TrainState(
            params={"dense": dense, "tables": new_tables},
            optimizer=_choose(finite, optimizer, state.optimizer),
            accumulators=accumulators,
            average=self._averaged(state, dense),
            step=state.step + 1,
            skipped=state.skipped + jnp.where(finite, 0, 1).astype(jnp.int32),
        )
        gradients = {name: _summed(batch.host[name], usable[name]) for name in batch.host}
        return new_state, StepReport(loss, parts, norm, gradients)

    def _averaged(self, state: TrainState, dense: Any) -> Any:
        if state.average is None:
            return None
        taken = state.step.astype(jnp.float32)
        share = 1.0 - jnp.minimum(self._options.average_decay, taken / (taken + 1.0))
        return jax.tree.map(lambda mean, new: mean + share * (new - mean), state.average, dense)

    def _update_tables(
        self, state: TrainState, hashes: Hashes, gradients: Rows, rate: Array
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        tables, accumulators = dict(state.params["tables"]), dict(state.accumulators)
        for name, indices in hashes.items():
            tables[name], accumulators[name] = table_optimizer.update(
                tables[name], accumulators[name], indices, gradients[name], rate, self._layout
            )
        return tables, accumulators

    def _state_shardings(self, state: TrainState) -> TrainState:
        everywhere, rows = self._layout.sharding(EVERYWHERE), self._layout.sharding(ROWS)
        like: TrainState = jax.tree.map(lambda _: everywhere, state)
        tables = dict.fromkeys(state.accumulators, rows)
        params = {"dense": like.params["dense"], "tables": tables}
        return like._replace(params=params, accumulators=tables)


def _host_rows(host: Mapping[str, HostRows]) -> dict[str, tuple[Array, ...]]:
    return {
        name: tuple(jnp.asarray(read.rows)[places] for places in read.places)
        for name, read in host.items()
    }


def _summed(read: HostRows, gradients: Any) -> Array:
    """[..., E] of the places → [U, E] of the rows."""
    places, flat = table_optimizer.flat_places(read.places, gradients)
    return jax.ops.segment_sum(flat, places, num_segments=read.rows.shape[0])


def _compiler_options() -> dict[str, bool] | None:
    """On CPU LLVM's costly passes double the time to compile and give no faster step."""
    return {"xla_llvm_disable_expensive_passes": True} if jax.default_backend() == "cpu" else None


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
