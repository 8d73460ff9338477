"""One jitted optimisation step: AdamW for the dense parameters, row-wise AdaGrad for the tables.

The dense parameters are optimised as one flat vector: forty small arrays would be forty small
programs to compile, and compiling is a good part of a short training.

A step whose loss or gradients are not finite changes nothing and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from phoenix import table_optimizer
from phoenix.tasks import Hashes, Inputs, Rows, Task
from phoenix.training_options import TrainingOptions

Array = jax.Array

GRADIENT_NORM_MAX = 1.0  # of the dense gradients
ADAM_B1, ADAM_B2 = 0.9, 0.98  # short memory: a demo's training has a few hundred steps


class TrainState(NamedTuple):
    """Everything that a step reads and writes; a pytree."""

    params: Any  # {"dense": ..., "tables": ...}
    adam: Any
    accumulators: Any  # of the tables
    step: Array  # int32, steps taken, skipped ones included
    skipped: Array  # int32, of them with non-finite gradients


class StepReport(NamedTuple):
    """What a step tells the curves."""

    loss: Array
    parts: Mapping[str, Array]
    gradient_norm: Array


StepFunction = Callable[[TrainState, Inputs, Array, Array], tuple[TrainState, StepReport]]


def init_state(task: Task, options: TrainingOptions) -> TrainState:
    params = task.init(options.seed)
    return TrainState(
        params=params,
        adam=_adam().init(jnp.zeros_like(_decayed(params["dense"]))),
        accumulators=table_optimizer.init_accumulators(params["tables"]),
        step=jnp.int32(0),
        skipped=jnp.int32(0),
    )


def make_step(task: Task, options: TrainingOptions, dense: Any) -> StepFunction:
    """(state, inputs, dense rate, table rate) → (state, report); the old state is given up.

    `dense` gives the shapes of the dense parameters.
    """
    adam = _adam()
    decayed = _decayed(dense)

    def step(
        state: TrainState, inputs: Inputs, rate: Array, table_rate: Array
    ) -> tuple[TrainState, StepReport]:
        flat, unflatten = ravel_pytree(state.params["dense"])
        tables = state.params["tables"]
        hashes = task.hashes(inputs)

        def loss_of(flat: Array, rows: Rows) -> tuple[Array, Any]:
            return task.loss(unflatten(flat), rows, inputs)

        rows = table_optimizer.take_rows(tables, hashes)
        (loss, parts), (gradient, row_gradients) = jax.value_and_grad(
            loss_of, argnums=(0, 1), has_aux=True
        )(flat, rows)
        norm = jnp.linalg.norm(gradient)
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        direction, new_adam = adam.update(gradient, state.adam)
        decay = options.weight_decay * decayed * flat
        new_flat = jnp.where(finite, flat - rate * (direction + decay), flat)
        new_tables, new_accumulators = _update_tables(
            tables, state.accumulators, hashes, row_gradients, finite, table_rate
        )
        new_state = TrainState(
            params={"dense": unflatten(new_flat), "tables": new_tables},
            adam=_choose(finite, new_adam, state.adam),
            accumulators=new_accumulators,
            step=state.step + 1,
            skipped=state.skipped + jnp.where(finite, 0, 1).astype(jnp.int32),
        )
        return new_state, StepReport(loss, parts, norm)

    jitted: StepFunction = jax.jit(step, donate_argnums=0, compiler_options=_compiler_options())
    return jitted


def _adam() -> optax.GradientTransformation:
    """Direction of descent; the rate is applied outside, so that it may follow any schedule."""
    return optax.chain(
        optax.clip_by_global_norm(GRADIENT_NORM_MAX), optax.scale_by_adam(ADAM_B1, ADAM_B2)
    )


def _decayed(dense: Any) -> np.ndarray[Any, Any]:
    """1 for entries of matrices, 0 for scales, biases and scalars: [P] beside the flat vector."""
    leaves = jax.tree.leaves(dense)
    return np.concatenate([np.full(leaf.size, leaf.ndim > 1, np.float32) for leaf in leaves])


def _compiler_options() -> dict[str, bool] | None:
    """On CPU LLVM's costly passes double the time to compile and give no faster step."""
    return {"xla_llvm_disable_expensive_passes": True} if jax.default_backend() == "cpu" else None


def _update_tables(
    tables: Mapping[str, Array],
    accumulators: Mapping[str, Array],
    hashes: Hashes,
    gradients: Rows,
    finite: Array,
    rate: Array,
) -> tuple[dict[str, Array], dict[str, Array]]:
    new_tables, new_accumulators = dict(tables), dict(accumulators)
    for name, indices in hashes.items():
        usable = [jnp.where(finite, gradient, 0.0) for gradient in gradients[name]]
        new_tables[name], new_accumulators[name] = table_optimizer.update(
            tables[name], accumulators[name], indices, usable, rate
        )
    return new_tables, new_accumulators


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
