"""A sequential model on disk: the checkpoint format of the other models, with its item ids.

`meta.json` holds `item_ids`: item i of the model is `item_ids[i - 1]` of the file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from phoenix import checkpoint as checkpoints
from phoenix.checkpoint import CheckpointError
from phoenix.sequential.config import SequentialConfig
from phoenix.sequential.experiment import Result
from phoenix.sequential.interactions import Interactions


def save_first(directory: Path, result: Result) -> tuple[Path, str]:
    """Write the first seed's final model as the next version → its path and the row's name."""
    trained, row = result.trained[0], result.rows[-1]
    meta = {
        "item_ids": result.protocol.interactions.item_ids,
        "data_sha256": data_digest(result.protocol.interactions),
        "options": asdict(result.training) | {"seed": trained.seed},
        "row": row.name,
        "metrics": row.metrics[0],
    }
    path = checkpoints.save(
        directory,
        step=trained.final.steps,
        config=cast(Any, result.config),  # it asks for to_json alone
        params=trained.final.params,
        meta=meta,
    )
    return path, f"{row.name}, seed {trained.seed}"


def data_digest(interactions: Interactions) -> str:
    """SHA-256 of the users, the items and their order, to compare checkpoints by."""
    digest = hashlib.sha256("\n".join(interactions.user_ids).encode())
    digest.update("\n".join(["", *interactions.item_ids]).encode())
    digest.update(np.ascontiguousarray(interactions.sequences.offsets).tobytes())
    digest.update(np.ascontiguousarray(interactions.sequences.items).tobytes())
    return digest.hexdigest()


def load_sequential(directory: Path) -> tuple[SequentialConfig, dict[str, Any], list[str]]:
    """The newest version, or the version itself → configuration, parameters, item ids.

    CheckpointError: what is missing, damaged or of another kind.
    """
    is_version = (directory / checkpoints.CONFIG_FILE).is_file()
    path = directory if is_version else checkpoints.latest(directory)
    if path is None:
        raise CheckpointError(
            f"no checkpoint in {directory}: write one (foryou eval sequential --checkpoint)"
        )
    meta = json.loads((path / checkpoints.META_FILE).read_text())
    params_file = path / checkpoints.PARAMS_FILE
    if checkpoints.file_digest(params_file) != meta["params_sha256"]:
        raise CheckpointError(f"{params_file} is damaged: copy or train it again")
    values = json.loads((path / checkpoints.CONFIG_FILE).read_text())
    try:
        config = SequentialConfig.from_json(json.dumps(values["config"]))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path / checkpoints.CONFIG_FILE}: {error}") from error
    with np.load(params_file, allow_pickle=False) as arrays:
        params = _nested({key: arrays[key] for key in arrays.files})
    return config, params, meta["item_ids"]


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split(checkpoints.PATH_SEPARATOR)
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return nested
