"""Impressions as a Parquet file: one column a field, one boolean column `label_<action>` an action,
and `known_<action>` beside it where some rows do not say whether the action was taken. The
catalogue of posts is not written.

The file's metadata carries the format version and the action list; a file of another format, or
with a missing column, is refused with a sentence that says which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix.data.impressions import Impressions

FORMAT_VERSION = 1
_VERSION_KEY, _ACTIONS_KEY = b"foryou.impressions.version", b"foryou.impressions.actions"
_COLUMNS = (
    "viewer_ids",
    "post_ids",
    "author_ids",
    "impressed_at_ms",
    "product_surface",
    "dwell_seconds",
    "weight",
    "in_history",
    "known_at_ms",
)


def write_impressions(impressions: Impressions, path: Path) -> None:
    """Write under a temporary name, then rename: readers never see half a file."""
    arrays = {name: pa.array(getattr(impressions, name)) for name in _COLUMNS}
    for index, name in enumerate(impressions.action_names):
        arrays[f"label_{name}"] = pa.array(impressions.labels[:, index] > 0)
        if not impressions.labels_known[:, index].all():
            arrays[f"known_{name}"] = pa.array(impressions.labels_known[:, index])
    table = pa.table(arrays).replace_schema_metadata(_metadata(impressions.action_names))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, unfinished, compression="zstd")
    unfinished.replace(path)


def impressions_schema(action_names: Sequence[str]) -> pa.Schema:
    """Columns, types and metadata of a file with these actions."""
    columns = _types()
    labels = {f"label_{name}": pa.bool_() for name in action_names}
    return pa.schema({**columns, **labels}).with_metadata(_metadata(action_names))


def _types() -> dict[str, pa.DataType]:
    """Types of the columns beside the labels."""
    empty = Impressions.empty(())
    return {name: pa.array(getattr(empty, name)).type for name in _COLUMNS}


def write_batches(
    batches: Iterable[pa.RecordBatch], action_names: Sequence[str], path: Path
) -> int:
    """Write rows that come in batches, as `write_impressions` would; returns how many."""
    schema = impressions_schema(action_names)
    rows = 0
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).select(schema.names).cast(schema))
            rows += len(batch)
    unfinished.replace(path)
    return rows


def _metadata(action_names: Sequence[str]) -> dict[bytes, str]:
    return {
        _VERSION_KEY: str(FORMAT_VERSION),
        _ACTIONS_KEY: json.dumps(list(action_names)),
    }


def read_impressions(path: Path) -> Impressions:
    """Read what `write_impressions` wrote; ValueError says what another file lacks."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; expected impressions written by write_parquet")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is no readable Parquet file: {error}") from error
    names = _action_names(table, path)
    missing = [
        c for c in (*_COLUMNS, *(f"label_{n}" for n in names)) if c not in table.schema.names
    ]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; write it again with write_parquet")
    columns = {name: table[name].to_numpy() for name in _COLUMNS}
    labels = np.zeros((table.num_rows, len(names)), dtype=np.float32)
    for index, name in enumerate(names):
        labels[:, index] = table[f"label_{name}"].to_numpy()
    known = np.ones(labels.shape, dtype=np.bool_)
    for index, name in enumerate(names):
        if f"known_{name}" in table.schema.names:
            known[:, index] = table[f"known_{name}"].to_numpy()
    columns["labels_known"] = known
    return Impressions(labels=labels, action_names=names, **columns)


def _action_names(table: pa.Table, path: Path) -> tuple[str, ...]:
    metadata = table.schema.metadata or {}
    version = metadata.get(_VERSION_KEY, b"none").decode()
    if version != str(FORMAT_VERSION):
        raise ValueError(
            f"{path} holds impressions of format version {version}, this program reads "
            f"{FORMAT_VERSION}; write it again from the event log"
        )
    return tuple(json.loads(metadata[_ACTIONS_KEY]))
