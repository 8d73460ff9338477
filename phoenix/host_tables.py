"""Embedding tables on the host, as files that are mapped: for tables larger than any memory.

Glossary: R rows of a table, E its width, N places of a batch, U = N + 1 rows that a step may read.

A table is a file of R · E float32 beside one of R accumulators. A step reads the batch's rows to
the device; their gradients come back and row-wise AdaGrad (`phoenix.table_optimizer`) is applied
here. Only pages that were touched take memory or disk: a file begins sparse, and a row that no
gradient has reached yet is not stored but drawn, again and again the same, from (seed, table, row):

    w = σ √(−2 ln u₁) cos(2π u₂),   u₁, u₂ of splitmix64(seed, table, row, column)

(Box and Muller 1958; Steele et al. 2014). Its accumulator is 0: that is how it is known. In a
checkpoint such a row is zeros, as padding is: a post that training never saw has no rows of its
own. The draws are not those of a table on a device, so two runs that differ in `host_tables`
differ as two seeds do.

The mapped files are scratch: they are of one process and one run, and begin anew at each start.
What lasts is a checkpoint's copy of them, made while no step runs, that skips holes:

    tables/<name>.rows, <name>.accumulators      raw float32, mapped by who loads the checkpoint
    tables/tables.json                           shapes, and a SHA-256 over what is no hole
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numba import njit
from numpy.typing import NDArray

from phoenix.checkpoint import CheckpointError, sync_directory
from phoenix.config import ModelConfig
from phoenix.table_files import INDEX_FILE, TABLES_DIRECTORY, copy_sparse, read_index
from phoenix.table_optimizer import EPSILON
from phoenix.tables import INITIAL_STDDEV, TABLE_NAMES
from phoenix.train_step import HostRows
from phoenix.training_options import TrainingOptions

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HostTable:
    """One table and its accumulators, mapped read and write."""

    rows: Floats  # [R, E]
    accumulators: Floats  # [R]
    key: int  # of the draws: seed and table
    drawn: bool  # False: the rows began as stored, none is drawn

    def read(self, wanted: NDArray[np.int64], into: Floats) -> None:
        """Rows `wanted` [n] into [U, E]."""
        _read(self.rows, self.accumulators, wanted, np.uint64(self.key), self.drawn, into)

    def update(self, touched: NDArray[np.int64], gradients: Floats, rate: float) -> None:
        """AdaGrad for the rows `touched` [n] by gradients [U, E]."""
        _update(
            self.rows, self.accumulators, touched, np.uint64(self.key), self.drawn,
            gradients, np.float32(rate),
        )  # fmt: skip


class HostTables:
    """The tables of one run that live on the host, by name."""

    def __init__(self, directory: Path, shapes: Mapping[str, tuple[int, int]], seed: int) -> None:
        """`shapes`: (R, E) of each. OSError: the directory cannot be written, or is full."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._tables = {
            name: HostTable(
                _mapped(directory / f"{name}.rows", shape),
                _mapped(directory / f"{name}.accumulators", shape[:1]),
                _key(seed, name),
                drawn=True,
            )
            for name, shape in shapes.items()
        }
        self._last: dict[str, NDArray[np.int64]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tables)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tables[name].rows.shape

    def begin_with(self, name: str, rows: Any) -> None:
        """Rows [R, E] instead of drawn ones: those of a model to begin with."""
        table = self._tables[name]
        table.rows[:] = rows
        self._tables[name] = HostTable(table.rows, table.accumulators, table.key, drawn=False)

    def read(self, hashes: Mapping[str, Sequence[Any]]) -> dict[str, HostRows]:
        """What a batch reads: its distinct rows, and where each place finds its own among them."""
        return {name: self._read(name, hashes[name]) for name in self._tables}

    def update(self, gradients: Mapping[str, Any], rate: float) -> None:
        """Of the rows that `read` gave last."""
        for name, touched in self._last.items():
            self._tables[name].update(touched, np.asarray(gradients[name]), rate)

    def write(self, version: Path) -> None:
        """Copy all tables into a version that is being written."""
        target = version / TABLES_DIRECTORY
        target.mkdir()
        index: dict[str, Any] = {}
        for name, table in self._tables.items():
            files = {}
            for kind in ("rows", "accumulators"):
                values: np.memmap[Any, Any] = getattr(table, kind)
                values.flush()
                files[kind] = copy_sparse(
                    self._directory / f"{name}.{kind}", target / f"{name}.{kind}"
                )
            index[name] = {"shape": list(table.rows.shape), "drawn": table.drawn, "sha256": files}
        (target / INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n")
        sync_directory(target)

    def restore(self, version: Path) -> None:
        """Go on from a version's copies. CheckpointError: it has other tables, or damaged ones."""
        index = read_index(version)
        if set(index) != set(self._tables):
            raise CheckpointError(
                f"{version} has the host tables {sorted(index)}, this run {sorted(self._tables)}: "
                "resume with the --host-tables and --host-table-mb that it began with"
            )
        for name, entry in index.items():
            for kind, digest in entry["sha256"].items():
                source = version / TABLES_DIRECTORY / f"{name}.{kind}"
                found = copy_sparse(source, self._directory / f"{name}.{kind}")
                if found != digest:
                    raise CheckpointError(f"{source} is damaged: resume from another version")
            shape = tuple(entry["shape"])
            self._tables[name] = HostTable(
                _opened(self._directory / f"{name}.rows", shape),
                _opened(self._directory / f"{name}.accumulators", shape[:1]),
                self._tables[name].key,
                entry["drawn"],
            )

    def _read(self, name: str, hashes: Sequence[Any]) -> HostRows:
        table = self._tables[name]
        places = np.concatenate([np.asarray(index).reshape(-1) for index in hashes])
        distinct, position = np.unique(places, return_inverse=True)
        wanted = distinct.astype(np.int64)
        rows = np.zeros((len(places) + 1, table.rows.shape[1]), np.float32)
        table.read(wanted, rows)
        self._last[name] = wanted
        ends = np.cumsum([np.size(index) for index in hashes])[:-1]
        cut = np.split(position.astype(np.int32), ends)
        shaped = (part.reshape(np.shape(index)) for part, index in zip(cut, hashes, strict=True))
        return HostRows(rows, tuple(shaped))


def open_host_tables(config: ModelConfig, options: TrainingOptions) -> HostTables | None:
    """The tables that `options` want on the host; None: none is large enough, or wanted.

    ValueError: with past rates, whose counts are as large; with several processes.
    """
    if options.host_tables is None:
        return None
    width = config.embedding_width
    shapes = {name: (int(getattr(config, f"{name}_rows")), width) for name in TABLE_NAMES}
    large = {
        name: shape
        for name, shape in shapes.items()
        if 4 * shape[0] * shape[1] >= options.host_table_mb_min * 1_000_000
    }
    if not large:
        return None
    if getattr(config, "rates", False):
        raise ValueError("host tables and rates=True do not go together: counts stay on devices")
    if jax.process_count() > 1:
        raise ValueError("host tables are of one process; give several processes larger meshes")
    return HostTables(Path(options.host_tables), large, options.seed)


def init_params(task: Any, seed: int, host: HostTables | None) -> dict[str, Any]:
    """The task's fresh parameters, without the tables of the host, which are never built."""
    if host is None:
        params: dict[str, Any] = task.init(seed)
        return params
    small = replace(task, config=replace(task.config, **{f"{n}_rows": 2 for n in host.names}))
    start = getattr(task, "start", None)
    if start is not None:
        fitting = {n for n in host.names if start["tables"][n].shape == host.shape(n)}
        for name in fitting:
            host.begin_with(name, start["tables"][name])
        # What fits whole fits in small, too: the task compares shapes.
        tables = {n: t[:2] if n in fitting else t for n, t in start["tables"].items()}
        small = replace(small, start={"dense": start["dense"], "tables": tables})
    params = small.init(seed)
    for name in host.names:
        del params["tables"][name]
    return params


def _mapped(path: Path, shape: tuple[int, ...]) -> Floats:
    path.unlink(missing_ok=True)  # scratch of a run that has ended
    return np.memmap(path, np.float32, "w+", shape=shape)


def _opened(path: Path, shape: tuple[int, ...]) -> Floats:
    return np.memmap(path, np.float32, "r+", shape=shape)


def _key(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


@njit(nogil=True, cache=True)
def _splitmix(value: np.uint64) -> np.uint64:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, cache=True)
def _draw(key: np.uint64, row: int, column: int) -> np.float32:
    seed = _splitmix(key ^ _splitmix(np.uint64(row)))
    first = _splitmix(seed + np.uint64(2 * column))
    second = _splitmix(seed + np.uint64(2 * column + 1))
    scale = 1.0 / 9007199254740992.0  # 2^-53
    u1 = (np.float64(first >> np.uint64(11)) + 1.0) * scale  # in (0, 1]: its logarithm exists
    u2 = np.float64(second >> np.uint64(11)) * scale
    radius = np.sqrt(-2.0 * np.log(u1))
    return np.float32(INITIAL_STDDEV * radius * np.cos(2.0 * np.pi * u2))


@njit(nogil=True, cache=True)
def _read(
    rows: Floats, accumulators: Floats, wanted: Any, key: np.uint64, drawn: bool, into: Floats
) -> None:
    for i in range(len(wanted)):
        row = wanted[i]
        for column in range(rows.shape[1]):
            if row == 0:
                into[i, column] = np.float32(0.0)
            elif drawn and accumulators[row] == 0.0:
                into[i, column] = _draw(key, row, column)
            else:
                into[i, column] = rows[row, column]


@njit(nogil=True, cache=True)
def _update(
    rows: Floats,
    accumulators: Floats,
    touched: Any,
    key: np.uint64,
    drawn: bool,
    gradients: Floats,
    rate: np.float32,
) -> None:
    width = rows.shape[1]
    for i in range(len(touched)):
        row = touched[i]
        square = np.float32(0.0)
        for column in range(width):
            square += gradients[i, column] * gradients[i, column]
        square /= np.float32(width)
        if row == 0 or square == 0.0:
            continue
        fresh = drawn and accumulators[row] == 0.0
        accumulators[row] += square
        scale = rate / (np.sqrt(accumulators[row]) + np.float32(EPSILON))
        for column in range(width):
            before = _draw(key, row, column) if fresh else rows[row, column]
            rows[row, column] = before - scale * gradients[i, column]
