"""What a checkpoint says of itself: configuration, training data, options, sizes, curves.

Nothing is loaded into a model: any kind of checkpoint that `phoenix.checkpoint` writes has the same
files. The parameters' digest is verified, because the page prints it.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phoenix import checkpoint as checkpoints
from phoenix.report.files import ReportError, number, read_json, read_object
from phoenix.table_files import read_index

CURVES_FILE = "curves.json"  # the trainer's, beside the versions
CONFIG_SUFFIX = "Config"
LOSS_TOLERANCE = 1e-6  # the loss of a step in the curve and in the checkpoint are one number

Curve = list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One version of a model, as its files describe it."""

    path: Path  # of the version
    kind: str  # ranker, retrieval, sequential, …
    model_version: str
    step: int
    config: Mapping[str, Any]
    config_sha256: str  # of config.json
    meta: Mapping[str, Any]
    parameters: Mapping[str, int]  # floats by table, and "dense" for all others
    curve: Curve  # points of the training, in order; empty: there are none
    curve_problem: str  # why there is no curve; empty: there is one


def read_facts(directory: Path) -> ModelFacts:
    """The newest version below `directory`, or `directory` itself where it is one.

    ReportError or CheckpointError: nothing there, or a file of it is damaged.
    """
    path = _version(directory)
    config = read_object(path / checkpoints.CONFIG_FILE)
    values = config.get("config")
    if not isinstance(values, dict) or not isinstance(values.get("model"), str):
        raise ReportError(f"{path / checkpoints.CONFIG_FILE} names no model; train it again")
    meta = read_object(path / checkpoints.META_FILE)
    for name in ("step", "model_version"):
        if name not in meta:
            raise ReportError(f"{path / checkpoints.META_FILE} has no {name!r}; train it again")
    curve, problem = _curve(path, meta)
    return ModelFacts(
        path=path,
        kind=values["model"].removesuffix(CONFIG_SUFFIX).lower(),
        model_version=str(meta["model_version"]),
        step=int(meta["step"]),
        config={name: value for name, value in values.items() if name != "model"},
        config_sha256=_sha256(path / checkpoints.CONFIG_FILE),
        meta=meta,
        parameters=_parameters(path, meta),
        curve=curve,
        curve_problem=problem,
    )


def beside(facts: ModelFacts, name: str) -> Path | None:
    """A file of the version's directory or of the directory of versions; None: in neither."""
    places = (facts.path / name, facts.path.parent / name)
    return next((place for place in places if place.is_file()), None)


def _version(directory: Path) -> Path:
    if (directory / checkpoints.CONFIG_FILE).is_file():
        path: Path | None = directory
    else:
        path = checkpoints.latest(directory)
    if path is None:
        raise ReportError(
            f"no checkpoint in {directory}: train one (foryou train ranker|retrieval) or name a "
            "directory that holds one"
        )
    for name in (checkpoints.CONFIG_FILE, checkpoints.META_FILE):
        if not (path / name).is_file():
            raise ReportError(f"{path} is no checkpoint: {name} is missing; train it again")
    return path


def _parameters(path: Path, meta: Mapping[str, Any]) -> dict[str, int]:
    """Sizes of all arrays from their headers; {} where the version keeps them elsewhere."""
    file = path / checkpoints.PARAMS_FILE
    mapped = {f"table {n}": math.prod(entry["shape"]) for n, entry in read_index(path).items()}
    if not file.is_file():
        return mapped
    digest = checkpoints.file_digest(file)
    if meta.get("params_sha256") != digest:
        raise ReportError(
            f"{file} is damaged: its SHA-256 is {digest}, {checkpoints.META_FILE} says "
            f"{meta.get('params_sha256')}; copy or train it again"
        )
    counts = dict(mapped)
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            group, _, rest = member.removesuffix(".npy").partition(checkpoints.PATH_SEPARATOR)
            name = f"table {rest}" if group == "tables" else group
            counts[name] = counts.get(name, 0) + _size(archive, member)
    return dict(sorted(counts.items()))


def _size(archive: zipfile.ZipFile, member: str) -> int:
    """Elements of one array of an npz; reads its header alone."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        return math.prod(read(file)[0])


def _curve(path: Path, meta: Mapping[str, Any]) -> tuple[Curve, str]:
    """The curve of the training that made this version, or nothing and why."""
    file = next((p / CURVES_FILE for p in (path, path.parent) if (p / CURVES_FILE).is_file()), None)
    if file is None:
        return [], (
            f"{CURVES_FILE} is not beside the checkpoint: foryou train writes it into the "
            "directory of versions; copy it along when you move a version"
        )
    points = read_json(file)
    if not isinstance(points, list) or not all(
        isinstance(point, dict) and "step" in point for point in points
    ):
        raise ReportError(f"{file} must hold a list of objects with a step; train again")
    mine = [point for point in points if point["step"] <= meta["step"]]
    if not _belongs(mine, meta):
        return [], (
            f"{file.name} belongs to a later training into the same directory, not to this version"
        )
    return mine, ""


def _belongs(points: Curve, meta: Mapping[str, Any]) -> bool:
    """Whether the curve's last point up to the version's step says what the version says."""
    metrics = meta.get("metrics")
    loss = number(metrics, "loss") if isinstance(metrics, dict) else math.nan
    if not points:
        return False
    last = number(points[-1], "loss")
    return math.isnan(loss) or math.isnan(last) or abs(last - loss) <= LOSS_TOLERANCE


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
