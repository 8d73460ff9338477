"""What an evaluation leaves beside the checkpoint, for `foryou report` and for others' metrics.

    <directory>/evaluation.json       the result, as `foryou eval kuairand --json` prints it
    <directory>/evaluation.parquet    one row a test impression, in the test's order:

| column | type | what |
|---|---|---|
| viewer_id, post_id, time_ms | int64 | the impression, ids as in the data set |
| history_count | int32 | events of the viewer that were known before the impression |
| post_age_seconds | float64 | since the upload, whose day alone is known; null where unknown |
| label_<action> | bool | what happened; missing where the test rows do not say |
| p_<action> | float64 | calibrated probability: what serving answers |
| raw_<action> | float64 | the same before calibration |

The file's metadata carries the format version and the action list.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

FORMAT_VERSION = 1
RESULT_FILE, ROWS_FILE = "evaluation.json", "evaluation.parquet"
VERSION_KEY, ACTIONS_KEY = b"foryou.evaluation.version", b"foryou.evaluation.actions"


@dataclass(frozen=True, eq=False)
class Evaluated:
    """N rows and A actions of one evaluation."""

    action_names: tuple[str, ...]
    viewer_ids: NDArray[np.int64]  # [N]
    post_ids: NDArray[np.int64]  # [N]
    time_ms: NDArray[np.int64]  # [N]
    history_count: NDArray[np.int64]  # [N]
    post_age_seconds: NDArray[np.float64]  # [N], nan: unknown
    labels: dict[str, NDArray[np.bool_]]  # of the actions that the rows tell
    probabilities: NDArray[np.float64]  # [N, A], calibrated
    raw: NDArray[np.float64]  # [N, A]


def write_evaluation(directory: Path, rows: Evaluated, result: dict[str, Any]) -> None:
    """Both files; each appears whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        "viewer_id": rows.viewer_ids,
        "post_id": rows.post_ids,
        "time_ms": rows.time_ms,
        "history_count": rows.history_count.astype(np.int32),
        "post_age_seconds": pa.array(rows.post_age_seconds, from_pandas=True),
    }
    for index, name in enumerate(rows.action_names):
        if name in rows.labels:
            columns[f"label_{name}"] = rows.labels[name]
        columns[f"p_{name}"] = rows.probabilities[:, index]
        columns[f"raw_{name}"] = rows.raw[:, index]
    table = pa.table(columns).replace_schema_metadata(
        {VERSION_KEY: str(FORMAT_VERSION), ACTIONS_KEY: json.dumps(rows.action_names)}
    )
    unfinished = directory / f".{ROWS_FILE}.tmp"
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(directory / ROWS_FILE)
    text = directory / f".{RESULT_FILE}.tmp"
    text.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    text.replace(directory / RESULT_FILE)


def read_evaluation(directory: Path) -> tuple[Evaluated, dict[str, Any]]:
    """What `write_evaluation` wrote. ValueError: which file is missing, damaged or of another."""
    rows_file, result_file = directory / ROWS_FILE, directory / RESULT_FILE
    for path in (rows_file, result_file):
        if not path.is_file():
            raise ValueError(f"{path} is missing; foryou eval kuairand --keep {directory} makes it")
    try:
        table = pq.read_table(rows_file)
        result = json.loads(result_file.read_text())
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ValueError(f"the evaluation in {directory} cannot be read: {error}") from error
    names = _action_names(table, rows_file)
    needed = ["viewer_id", "post_id", "time_ms", "history_count", "post_age_seconds"]
    needed += [f"{kind}_{name}" for name in names for kind in ("p", "raw")]
    missing = [name for name in needed if name not in table.schema.names]
    if missing:
        raise ValueError(f"{rows_file} lacks the columns {missing}; evaluate again with --keep")
    column = {name: np.asarray(table[name].to_numpy()) for name in table.schema.names}
    return Evaluated(
        names,
        column["viewer_id"],
        column["post_id"],
        column["time_ms"],
        column["history_count"].astype(np.int64),
        column["post_age_seconds"].astype(np.float64),
        {n: column[f"label_{n}"].astype(np.bool_) for n in names if f"label_{n}" in column},
        np.stack([column[f"p_{name}"] for name in names], axis=1),
        np.stack([column[f"raw_{name}"] for name in names], axis=1),
    ), result


def _action_names(table: pa.Table, path: Path) -> tuple[str, ...]:
    metadata = table.schema.metadata or {}
    version = metadata.get(VERSION_KEY, b"none").decode()
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"{path} is an evaluation of format version {version}, this program reads "
            f"{FORMAT_VERSION}; evaluate again with --keep"
        )
    return tuple(json.loads(metadata[ACTIONS_KEY]))
