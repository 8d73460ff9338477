"""One jitted optimisation step: AdamW for the dense parameters, row-wise AdaGrad for the tables.

A step whose loss or gradients are not finite changes nothing and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

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
        adam=_adam(options).init(params["dense"]),
        accumulators=table_optimizer.init_accumulators(params["tables"]),
        step=jnp.int32(0),
        skipped=jnp.int32(0),
    )


def make_step(task: Task, options: TrainingOptions) -> StepFunction:
    """(state, inputs, dense rate, table rate) → (state, report); the old state is given up."""
    adam = _adam(options)

    def step(
        state: TrainState, inputs: Inputs, rate: Array, table_rate: Array
    ) -> tuple[TrainState, StepReport]:
        dense, tables = state.params["dense"], state.params["tables"]
        hashes = task.hashes(inputs)
        masks = _hiding_masks(hashes, state.step, options)

        def loss_of(dense: Any, rows: Rows) -> tuple[Array, Any]:
            return task.loss(dense, _hide(rows, masks), inputs)

        rows = table_optimizer.take_rows(tables, hashes)
        (loss, parts), (dense_gradients, row_gradients) = jax.value_and_grad(
            loss_of, argnums=(0, 1), has_aux=True
        )(dense, rows)
        norm = optax.global_norm(dense_gradients)
        finite = jnp.isfinite(norm) & jnp.isfinite(loss)
        updates, new_adam = adam.update(dense_gradients, state.adam, dense)
        new_dense = jax.tree.map(lambda w, u: w - rate * u, dense, updates)
        new_tables, new_accumulators = _update_tables(
            tables, state.accumulators, hashes, row_gradients, finite, table_rate
        )
        new_state = TrainState(
            params={"dense": _choose(finite, new_dense, dense), "tables": new_tables},
            adam=_choose(finite, new_adam, state.adam),
            accumulators=new_accumulators,
            step=state.step + 1,
            skipped=state.skipped + jnp.where(finite, 0, 1).astype(jnp.int32),
        )
        return new_state, StepReport(loss, parts, norm)

    jitted: StepFunction = jax.jit(step, donate_argnums=0)
    return jitted


def _adam(options: TrainingOptions) -> optax.GradientTransformation:
    """Direction of descent; the rate is applied outside, so that it may follow any schedule."""
    return optax.chain(
        optax.clip_by_global_norm(GRADIENT_NORM_MAX),
        optax.scale_by_adam(ADAM_B1, ADAM_B2),
        optax.add_decayed_weights(
            options.weight_decay, mask=lambda tree: jax.tree.map(lambda w: w.ndim > 1, tree)
        ),
    )


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


def _hiding_masks(hashes: Hashes, step: Array, options: TrainingOptions) -> Rows:
    """1 where an id's rows may be seen, 0 where they are hidden, per occurrence of the id.

    The randomness is that of (seed, step) alone: a resumed run hides the same.
    """
    shares = {
        "user": options.user_dropout, "post": options.post_dropout,
        "author": options.author_dropout,
    }  # fmt: skip
    key = jax.random.fold_in(jax.random.PRNGKey(options.seed), step)
    masks: dict[str, tuple[Array, ...]] = {}
    for number, (name, indices) in enumerate(sorted(hashes.items())):
        masks[name] = tuple(
            jax.random.bernoulli(
                jax.random.fold_in(key, 16 * number + use), 1.0 - shares[name], index.shape[:-1]
            )[..., None, None]
            for use, index in enumerate(indices)
        )
    return masks


def _hide(rows: Rows, masks: Rows) -> Rows:
    return {
        name: tuple(row * mask for row, mask in zip(rows[name], masks[name], strict=True))
        for name in rows
    }


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
