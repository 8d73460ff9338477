"""What each choice brings: the files that `--ablate --json` writes, whatever the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix.report.files import ReportError, number, read_json

ROW_KEYS = ("ablations", "rows")  # where an object keeps its list of rows
NAME_KEYS = ("name", "change", "choice")
ERROR_SUFFIX = "_stderr"


@dataclass(frozen=True, slots=True)
class Ablation:
    """One change against the base: its measures, and what each gained by it."""

    name: str
    values: Mapping[str, float]  # measure → value
    gains: Mapping[str, float]  # measure → difference to the base
    errors: Mapping[str, float]  # measure → standard error of the gain, where it is known


@dataclass(frozen=True, slots=True)
class Ablations:
    """A file of them."""

    source: str  # name of the file
    rows: Sequence[Ablation]

    @property
    def measures(self) -> tuple[str, ...]:
        """Those that some row gained or lost in."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.gains))


def read_ablations(path: Path) -> Ablations:
    """Rows of a JSON list, or of an object's "ablations" or "rows".

    A row has a name, numbers, and a "gain": a number, or an object with one for each measure.
    ReportError: no such rows.
    """
    values = read_json(path)
    rows = _list(values)
    if rows is None or not all(isinstance(row, dict) and _name(row) for row in rows):
        raise ReportError(
            f"{path} holds no ablations: expected a list of objects with a name and a gain, as "
            "foryou eval … --ablate --json prints"
        )
    read = Ablations(path.name, [_row(row) for row in rows])
    if not read.measures:
        raise ReportError(f"{path}: no row has a gain; make it again with --ablate --json")
    return read


def _list(values: Any) -> list[Any] | None:
    if isinstance(values, list):
        return values
    if isinstance(values, dict):
        return next((values[key] for key in ROW_KEYS if isinstance(values.get(key), list)), None)
    return None


def _name(row: Mapping[str, Any]) -> str:
    return next((str(row[key]) for key in NAME_KEYS if row.get(key)), "")


def _row(row: Mapping[str, Any]) -> Ablation:
    measured = row.get("metrics")
    given: Mapping[str, Any] = measured if isinstance(measured, dict) else row
    values = _numbers({k: v for k, v in given.items() if k != "gain"})
    gain = row.get("gain")
    gains = _numbers(gain) if isinstance(gain, dict) else _numbers({"gain": gain})
    errors = {
        name.removesuffix(ERROR_SUFFIX): value
        for name, value in gains.items()
        if name.endswith(ERROR_SUFFIX)
    }
    kept = {name: value for name, value in gains.items() if not name.endswith(ERROR_SUFFIX)}
    if "gain" in kept and not math.isnan(number(row, "gain" + ERROR_SUFFIX)):
        errors["gain"] = number(row, "gain" + ERROR_SUFFIX)
    return Ablation(_name(row), values, kept, errors)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    found = {name: number(values, name) for name in values}
    return {name: value for name, value in found.items() if not math.isnan(value)}
