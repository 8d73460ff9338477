"""The published tables of ranking weights, as JSON files that every part may read.

A table is ``{"name", "synced", "weights": {head: weight}, "parameters": {name: value}}``.
home_mixer checks and completes it (``home_mixer.params``); phoenix's runner needs weights alone.
Source: the parameters that the original published, ``x-2026-08`` (2026-08-12) and ``x-2026-10``
(2026-10-07).
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

DEFAULT_TABLE: Final = "x-2026-10"


def table_names() -> tuple[str, ...]:
    """Names of the tables that ship with the suite, oldest first."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(f.name.removesuffix(".json") for f in files if f.name.endswith(".json")))


def load_table(name: str = DEFAULT_TABLE) -> dict[str, Any]:
    """The table of that name, as it stands in its file. ValueError names the tables there are."""
    if name not in table_names():
        known = ", ".join(table_names())
        raise ValueError(f"there is no table of ranking weights named {name!r}; there are {known}")
    text = resources.files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
