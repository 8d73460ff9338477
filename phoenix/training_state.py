"""The part of a checkpoint that only training reads: optimiser and data position, by Orbax."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax

from phoenix.checkpoint import STATE_DIRECTORY, Checkpoint, CheckpointError
from phoenix.train_step import TrainState

ARRAYS, POSITION = "arrays", "position.json"


def write_state(path: Path, state: TrainState, position: dict[str, Any]) -> None:
    """Write optimiser arrays and the JSON-able `position` (data order, time spent) to `path`."""
    import orbax.checkpoint as ocp  # imported here: two seconds that serving need not wait

    path.mkdir()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path / ARRAYS, _arrays(state))
    (path / POSITION).write_text(json.dumps(position))


def read_state(checkpoint: Checkpoint, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """Continue from `checkpoint`; `like` gives the shapes. CheckpointError: it holds no state."""
    path = (checkpoint.path / STATE_DIRECTORY).resolve()
    if not (path / POSITION).is_file():
        raise CheckpointError(
            f"{checkpoint.path} was saved without training state and cannot be resumed; train "
            "afresh into another directory"
        )
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore(path / ARRAYS, _arrays(like))
    params = jax.tree.map(lambda old, new: jax.numpy.asarray(new), like.params, checkpoint.params)
    return TrainState(params=params, **arrays), json.loads((path / POSITION).read_text())


def _arrays(state: TrainState) -> dict[str, Any]:
    values = state._asdict()
    del values["params"]  # in params.npz already
    return values
