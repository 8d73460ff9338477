"""Reads a table of ranking parameters: one that the suite ships, or a user's JSON or TOML file.

A user's file needs to hold only what differs: ``base = "x-2026-10"`` (the default) names the table
that the rest comes from. Overrides are ``{"weights.reply": 6.0, "top_k": 80}``.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from home_mixer.params.ranking_params import RankingParams
from service_kit.ranking_weights import DEFAULT_TABLE, load_table, table_names

FILE_BYTES_MAX: Final = 1 << 20  # a table is 2 kB; a larger file is a mistake
_SUFFIXES = (".json", ".toml")
_KEYS = ("name", "synced", "base", "weights", "parameters")


def load_params(
    name_or_path: str | Path = DEFAULT_TABLE, overrides: Mapping[str, object] | None = None
) -> RankingParams:
    """The table of that name, or of that .json or .toml file. ValueError says how to mend it."""
    if str(name_or_path) in table_names():
        table = load_table(str(name_or_path))
    else:
        table = _read_file(Path(name_or_path))
    return _build(table, overrides or {}, str(name_or_path))


def _read_file(path: Path) -> dict[str, Any]:
    if path.suffix not in _SUFFIXES:
        known = ", ".join(table_names())
        raise ValueError(
            f"{str(path)!r} is neither a table of parameters ({known}) nor a .json or .toml file"
        )
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ValueError(f"{path} is larger than {FILE_BYTES_MAX} bytes; no table is")
        text = path.read_text(encoding="utf-8")
        own = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a table of ranking parameters: {error}") from error
    return _on_base(own, path)


def _on_base(own: object, path: Path) -> dict[str, Any]:
    if not isinstance(own, dict):
        raise ValueError(f"{path} holds {type(own).__name__}; a table with {_KEYS} is expected")
    table = load_table(str(own.get("base", DEFAULT_TABLE)))
    for key in ("weights", "parameters"):
        if not isinstance(own.get(key, {}), dict):
            raise ValueError(f"{path}: {key} is {own[key]!r}; a table of name = number is expected")
    unknown = sorted(set(own) - set(_KEYS))
    if unknown:
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; the keys are {', '.join(_KEYS)}")
    return {
        "name": str(own.get("name", path.stem)),
        "weights": {**table["weights"], **own.get("weights", {})},
        "parameters": {**table["parameters"], **own.get("parameters", {})},
    }


def _build(table: dict[str, Any], overrides: Mapping[str, object], origin: str) -> RankingParams:
    weights = dict(table["weights"])
    parameters = dict(table["parameters"])
    for key, value in overrides.items():
        if key.startswith("weights."):
            weights[key.removeprefix("weights.")] = value
        else:
            parameters[key] = value
    known = [item.name for item in fields(RankingParams) if item.name not in ("name", "weights")]
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ValueError(
            f"{origin}: unknown parameter {unknown[0]!r}; "
            f"there are weights.<head>, {', '.join(known)}"
        )
    try:
        return RankingParams(name=table["name"], weights=weights, **parameters)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error
