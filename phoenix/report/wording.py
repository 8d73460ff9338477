"""Numbers, times and values as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

SPANS = (("year", 365 * 86_400), ("day", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def number(value: float | None, digits: int = 4) -> str:
    """A dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}f}"


def estimate(value: float | None, stderr: float | None, digits: int = 4) -> str:
    """A value with its standard error."""
    if value is None or not math.isfinite(value):
        return "–"
    if stderr is None or not math.isfinite(stderr):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ± {stderr:.{digits}f}"


def count(value: int | float) -> str:
    return f"{int(value):,}"


def short(value: int) -> str:
    """1.2 M instead of 1,234,567."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)


def span(seconds: float) -> str:
    """12 min, 3 h, 2 days: the largest unit that is not below one."""
    for unit, size in SPANS:
        if seconds >= size:
            amount = f"{seconds / size:.3g}"
            plural = "s" if unit in ("year", "day") and amount != "1" else ""
            return f"{amount} {unit}{plural}"
    return "0 s" if seconds <= 0 else f"{seconds:.2g} s"


def ages(low: float, high: float) -> str:
    """A range of post ages in two lines, which a tick label has room for."""
    first, last = span(low), span(high)
    return first if first == last else f"{first}–\n{last}"


def whole(low: float, high: float) -> str:
    """A range of counts."""
    return f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"


def moment(unix_ms: int | float) -> str:
    """UTC, to the minute."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def plain(value: Any) -> str:
    """A value of a configuration."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "none"
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
