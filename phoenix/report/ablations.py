"""What each choice brings: the files that `--ablate --json` writes, whatever the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phoenix.report.files import ReportError, number, read_json

ROW_KEYS = ("rows", "ablations")  # where an object keeps its list of rows
BASE = "base"  # the row that the others are differences to
GAIN_KEYS = ("gain", "difference")  # of a file without a base
NOT_MEASURES = {*GAIN_KEYS, "seconds", "train_seconds", "steps", "seed"}


@dataclass(frozen=True, slots=True)
class Ablation:
    """One change against the base: its measures, and what each gained by it."""

    name: str
    what: str  # in words; empty where the file has none
    values: Mapping[str, float]  # measure → value
    gains: Mapping[str, float]  # measure → difference to the base


@dataclass(frozen=True, slots=True)
class Ablations:
    """A file of them."""

    source: str  # name of the file
    rows: Sequence[Ablation]  # without the base

    @property
    def measures(self) -> tuple[str, ...]:
        """Those that some row gained or lost in, in the file's order."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.gains))


def read_ablations(path: Path) -> Ablations:
    """Rows of a JSON list, or of an object's "rows" or "ablations".

    A row has a name and its measures, in "metrics" or in itself. Gains are differences to the row
    named base; without one, each row brings its own "gain". ReportError: no such rows.
    """
    rows = _list(read_json(path))
    if not rows or not all(isinstance(row, dict) and row.get("name") for row in rows):
        raise ReportError(
            f"{path} holds no ablations: expected a list of objects with a name and measures, as "
            "foryou eval … --ablate --json prints"
        )
    base = next((_measures(row) for row in rows if row["name"] == BASE), None)
    read = [_row(row, base) for row in rows if row["name"] != BASE]
    if not any(row.gains for row in read):
        raise ReportError(
            f"{path}: no row has a gain over a row named {BASE}; make it again with --ablate --json"
        )
    return Ablations(path.name, read)


def _list(values: Any) -> list[Any] | None:
    if isinstance(values, list):
        return values
    if isinstance(values, dict):
        return next((values[key] for key in ROW_KEYS if isinstance(values.get(key), list)), None)
    return None


def _row(row: Mapping[str, Any], base: Mapping[str, float] | None) -> Ablation:
    values = _measures(row)
    if base is not None:
        gains = {name: value - base[name] for name, value in values.items() if name in base}
    else:
        gains = {key: number(row, key) for key in GAIN_KEYS if not math.isnan(number(row, key))}
    return Ablation(str(row["name"]), str(row.get("what", "")), values, gains)


def _measures(row: Mapping[str, Any]) -> dict[str, float]:
    nested = row.get("metrics")
    given: Mapping[str, Any] = nested if isinstance(nested, dict) else row
    found = {name: number(given, name) for name in given if name not in NOT_MEASURES}
    return {name: value for name, value in found.items() if not math.isnan(value)}
