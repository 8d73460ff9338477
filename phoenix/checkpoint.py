"""Checkpoints: one immutable directory per version, complete or absent.

    <directory>/<sequence>-<step>/config.json   format version and model configuration
                                  params.npz    every parameter array (float32, or float16 to ship)
                                  meta.json     step, model version, digest, training data, metrics
                                  calibration.json    maps of probabilities, if it was calibrated
                                  tables/       tables too large for params.npz, mapped when read
                                  state/        optimiser and data position; training only

A version is written under a hidden temporary name, flushed to disk and renamed, so a reader never
sees half of one. The highest sequence number is the latest, whatever its step: training afresh
into the same directory is a new version and not an old step. Serving reads `params.npz` alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.calibration import Calibration
from phoenix.config import ModelConfig, RankerConfig, RetrievalConfig
from phoenix.table_files import INDEX_FILE, TABLES_DIRECTORY, map_rows

FORMAT_VERSION = 1
CONFIG_FILE, PARAMS_FILE, META_FILE, STATE_DIRECTORY = (
    "config.json", "params.npz", "meta.json", "state",
)  # fmt: skip
CALIBRATION_FILE = "calibration.json"
VERSION_PATTERN = re.compile(r"^(\d{6})-(\d+)$")  # sequence, step
PATH_SEPARATOR = "|"  # between the keys of nested parameters; Haiku names contain "/" and "~"
STORAGE_DTYPES = ("float32", "float16")
RECORDED_PACKAGES = ("foryou", "jax", "jaxlib", "numpy", "optax")  # what shapes a training


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another format; the message says which and where."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model."""

    path: Path
    config: RankerConfig | RetrievalConfig
    params: dict[str, Any]  # {"dense": {module: {name: array}}, "tables": {name: array}}, float32
    meta: dict[str, Any]
    model_version: str  # short digest of configuration, parameters and calibration, and the step
    calibration: Calibration = field(default_factory=Calibration)  # of a ranker's probabilities

    @property
    def step(self) -> int:
        return int(self.meta["step"])


def save(
    directory: Path,
    *,
    step: int,
    config: RankerConfig | RetrievalConfig,
    params: Mapping[str, Any],
    meta: Mapping[str, Any],
    write_state: Any = None,
    write_tables: Any = None,
    storage_dtype: str = "float32",
    unix_s: Callable[[], float] = time.time,
) -> Path:
    """Write the next version and return its path.

    `write_state(path)` may fill the state directory (`phoenix.training_state`), and
    `write_tables(version)` write tables as files (`phoenix.table_files`). `meta` is any
    JSON object; step, model_version, digest, packages and time are added where it has none.
    """
    if storage_dtype not in STORAGE_DTYPES:
        raise ValueError(f"storage_dtype must be one of {STORAGE_DTYPES}, not {storage_dtype!r}")
    directory.mkdir(parents=True, exist_ok=True)
    sequence = max((number for number, _ in _versions(directory)), default=0) + 1
    name = f"{sequence:06d}-{step}"
    temporary = directory / f".{name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)  # a killed run of the same process id
    temporary.mkdir()
    if write_tables is not None:
        write_tables(temporary)
    made = {"packages": _packages(), "written_at_ms": int(unix_s() * 1_000)}
    _write(temporary, step, config, params, {**made, **meta}, storage_dtype)
    if write_state is not None:
        write_state((temporary / STATE_DIRECTORY).resolve())
    sync_directory(temporary)
    target = directory / name
    temporary.rename(target)  # fails if another writer took the name: versions never change
    sync_directory(directory)
    return target


def save_calibrated(path: Path, calibration: Calibration) -> Path:
    """Write the version at `path` again as the next one, with this calibration; returns its path.

    A version never changes, so a ranker that answers other probabilities is another version. The
    large files are shared where the file system can link them.
    """
    directory, meta = path.parent, _read_json(path / META_FILE)
    sequence = max((number for number, _ in _versions(directory)), default=0) + 1
    name = f"{sequence:06d}-{meta['step']}"
    temporary = directory / f".{name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)  # a killed run of the same process id
    shutil.copytree(path, temporary, copy_function=_link_or_copy)
    for changed in (META_FILE, CALIBRATION_FILE):
        (temporary / changed).unlink(missing_ok=True)  # a link: the other version keeps its own
    (temporary / CALIBRATION_FILE).write_text(calibration.to_json() + "\n")
    digest = file_digest(temporary / CALIBRATION_FILE)
    bare = str(meta.get("uncalibrated_version", meta["model_version"]))
    version = hashlib.sha256((bare + digest).encode()).hexdigest()[:8]
    full = {
        **meta,
        "model_version": f"{version}-{meta['step']}",
        "uncalibrated_version": bare,
        "calibration_sha256": digest,
    }
    (temporary / META_FILE).write_text(json.dumps(full, indent=1) + "\n")
    sync_directory(temporary)
    target = directory / name
    temporary.rename(target)
    sync_directory(directory)
    return target


def latest(directory: Path) -> Path | None:
    """The newest complete version below `directory`, or None."""
    paths = versions(directory)
    return paths[-1] if paths else None


def versions(directory: Path) -> list[Path]:
    """All complete versions below `directory`, oldest first."""
    return [path for _, path in sorted(_versions(directory))]


def load_latest(directory: Path) -> Checkpoint:
    """Load the newest version; `directory` may also be one version itself."""
    if (directory / CONFIG_FILE).is_file():
        return load(directory)
    path = latest(directory)
    if path is None:
        raise CheckpointError(
            f"no checkpoint in {directory}: train one (foryou train ranker|retrieval) or point to "
            "a directory that holds one"
        )
    return load(path)


def load(path: Path) -> Checkpoint:
    """Read configuration and parameters. CheckpointError: what is wrong, and with which file."""
    for name in (CONFIG_FILE, PARAMS_FILE, META_FILE):
        if not (path / name).is_file():
            raise CheckpointError(f"{path} is no checkpoint: {name} is missing")
    config = _read_config(path / CONFIG_FILE)
    meta = _read_json(path / META_FILE)
    digest = file_digest(path / PARAMS_FILE)
    if meta.get("params_sha256") != digest:
        raise CheckpointError(
            f"{path / PARAMS_FILE} is damaged: its SHA-256 is {digest}, {META_FILE} says "
            f"{meta.get('params_sha256')}; copy or train it again"
        )
    with np.load(path / PARAMS_FILE, allow_pickle=False) as arrays:
        params = _unflatten({key: arrays[key] for key in arrays.files})
    try:
        params.setdefault("tables", {}).update(map_rows(path))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    _check_tables(path, config, params)
    calibration = _read_calibration(path, meta)
    return Checkpoint(path, config, params, meta, str(meta["model_version"]), calibration)


def load_ranker(directory: Path) -> tuple[RankerConfig, Checkpoint]:
    """`load_latest`, refusing anything but a ranker."""
    checkpoint = load_latest(directory)
    if not isinstance(checkpoint.config, RankerConfig):
        raise CheckpointError(f"{checkpoint.path} holds a retrieval model, expected a ranker")
    return checkpoint.config, checkpoint


def load_retrieval(directory: Path) -> tuple[RetrievalConfig, Checkpoint]:
    """`load_latest`, refusing anything but a retrieval model."""
    checkpoint = load_latest(directory)
    if not isinstance(checkpoint.config, RetrievalConfig):
        raise CheckpointError(f"{checkpoint.path} holds a ranker, expected a retrieval model")
    return checkpoint.config, checkpoint


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Nested parameters → {"dense|module|name": array}, the keys of params.npz."""
    flat: dict[str, NDArray[Any]] = {}
    for key, value in params.items():
        path = f"{prefix}{PATH_SEPARATOR}{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            flat.update(flatten(value, path))
        else:
            flat[path] = np.asarray(value)
    return flat


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _packages() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in RECORDED_PACKAGES},
    }


def _write(
    path: Path,
    step: int,
    config: RankerConfig | RetrievalConfig,
    params: Mapping[str, Any],
    meta: Mapping[str, Any],
    storage_dtype: str,
) -> None:
    config_text = json.dumps(
        {"format_version": FORMAT_VERSION, "config": json.loads(config.to_json())}, indent=1
    )
    (path / CONFIG_FILE).write_text(config_text + "\n")
    arrays = {key: value.astype(storage_dtype) for key, value in flatten(params).items()}
    np.savez(path / PARAMS_FILE, allow_pickle=False, **arrays)
    digest = file_digest(path / PARAMS_FILE)
    tables = path / TABLES_DIRECTORY / INDEX_FILE
    content = config_text + digest + (tables.read_text() if tables.is_file() else "")
    version = hashlib.sha256(content.encode()).hexdigest()[:8]
    full = {
        **meta, "step": step, "model_version": f"{version}-{step}", "params_sha256": digest,
    }  # fmt: skip
    (path / META_FILE).write_text(json.dumps(full, indent=1) + "\n")


def _read_config(path: Path) -> RankerConfig | RetrievalConfig:
    values = _read_json(path)
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has checkpoint format {values.get('format_version')}, this program reads "
            f"{FORMAT_VERSION}; train again or use the matching release"
        )
    kinds: dict[str, type[ModelConfig]] = {
        kind.__name__: kind for kind in (RankerConfig, RetrievalConfig)
    }
    config = values.get("config", {})
    kind = kinds.get(config.get("model"))
    if kind is None:
        raise CheckpointError(f"{path} configures an unknown model: {config.get('model')!r}")
    try:
        read = kind.from_json(json.dumps(config))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    assert isinstance(read, RankerConfig | RetrievalConfig)
    return read


def _read_calibration(path: Path, meta: Mapping[str, Any]) -> Calibration:
    """The identity where the checkpoint was never calibrated."""
    file, expected = path / CALIBRATION_FILE, meta.get("calibration_sha256")
    found = file_digest(file) if file.is_file() else None
    if found != expected:
        raise CheckpointError(
            f"{file} is damaged: its SHA-256 is {found}, {META_FILE} says {expected}; copy or "
            "calibrate it again"
        )
    if found is None:
        return Calibration()
    try:
        return Calibration.from_json(file.read_text())
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(values).__name__}")
    return values


def _check_tables(path: Path, config: ModelConfig, params: Mapping[str, Any]) -> None:
    rows = {"user": config.user_rows, "post": config.post_rows, "author": config.author_rows}
    for name, count in rows.items():
        table = params.get("tables", {}).get(name)
        expected = (count, config.embedding_width)
        if table is None or table.shape != expected:
            found = "nothing" if table is None else str(table.shape)
            raise CheckpointError(
                f"{path / PARAMS_FILE}: table {name!r} should be {expected}, found {found}"
            )


def _unflatten(flat: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, name = key.split(PATH_SEPARATOR)
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value.astype(np.float32)
    return nested


def _versions(directory: Path) -> list[tuple[int, Path]]:
    if not directory.is_dir():
        return []
    matches = ((VERSION_PATTERN.match(path.name), path) for path in directory.iterdir())
    return [(int(match[1]), path) for match, path in matches if match]


def sync_directory(directory: Path) -> None:
    """Flush a directory, its files and its entries."""
    for path in sorted(directory.iterdir()):
        if path.is_file():
            _fsync_one(path)
    _fsync_one(directory)


def _fsync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
