"""The part of a checkpoint that only training reads: optimiser and data position.

    state/arrays.npz      every array of the optimiser and the accumulators, by its path
          position.json   data order, time spent, and the SHA-256 of arrays.npz

The arrays are those of one device, whatever mesh they were on: a run may go on with another number
of devices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from phoenix.checkpoint import (
    STATE_DIRECTORY,
    Checkpoint,
    CheckpointError,
    file_digest,
    sync_directory,
)

ARRAYS, POSITION = "arrays.npz", "position.json"


def write_state(path: Path, arrays: Any, position: Mapping[str, Any]) -> None:
    """Write a tree of numpy arrays and the JSON-able `position` to the new directory `path`."""
    path.mkdir()
    np.savez(path / ARRAYS, allow_pickle=False, **_by_path(arrays))
    text = json.dumps({**position, "arrays_sha256": file_digest(path / ARRAYS)})
    (path / POSITION).write_text(text)
    sync_directory(path)


def read_state(checkpoint: Checkpoint, like: Any) -> tuple[Any, dict[str, Any]]:
    """The tree and the position; `like` gives the tree's structure and shapes.

    CheckpointError: the version was saved without state, or it is damaged or of other options.
    """
    path = checkpoint.path / STATE_DIRECTORY
    if not (path / POSITION).is_file() or not (path / ARRAYS).is_file():
        raise CheckpointError(
            f"{checkpoint.path} was saved without training state and cannot be resumed; train "
            "afresh into another directory"
        )
    position: dict[str, Any] = json.loads((path / POSITION).read_text())
    if position["arrays_sha256"] != file_digest(path / ARRAYS):
        raise CheckpointError(
            f"{path / ARRAYS} is damaged: its SHA-256 is not the one in {POSITION}; resume from "
            "another version"
        )
    with np.load(path / ARRAYS, allow_pickle=False) as saved:
        found = {key: saved[key] for key in saved.files}
    return _rebuilt(path, found, like), position


def _rebuilt(path: Path, found: Mapping[str, NDArray[Any]], like: Any) -> Any:
    expected = _by_path(like)
    shapes = {key: value.shape for key, value in expected.items()}
    if shapes != {key: value.shape for key, value in found.items()}:
        differing = sorted(
            key
            for key in {*shapes, *found}
            if key not in found or found[key].shape != shapes.get(key)
        )
        raise CheckpointError(
            f"{path} holds the state of other options ({', '.join(differing[:3])} differ): resume "
            "with the optimizer, the average_decay and the host tables that the run began with"
        )
    return jax.tree.unflatten(jax.tree.structure(like), [found[key] for key in expected])


def _by_path(tree: Any) -> dict[str, NDArray[Any]]:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
