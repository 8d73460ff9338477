"""Reading what a report is made of; each error says which file, what came and the way out.

A report never guesses: a file that is absent is reported as missing in the page, one that is there
and cannot be read stops the report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ReportError(ValueError):
    """A file that the report needs is missing or broken; the message names it and the remedy."""


def read_json(path: Path) -> Any:
    """What a JSON file holds. ReportError: unreadable, or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ReportError(f"{path} is not JSON: {error}; make it again") from error


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds, which must be an object."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise ReportError(f"{path} must hold a JSON object, not {type(values).__name__}")
    return values


def number(values: Mapping[str, Any], name: str) -> float:
    """A number of a JSON object; nan where it is absent, null or no number."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)
