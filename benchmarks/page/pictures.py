"""Which pictures a saved report gives: found from the shape of its figures, area by area.

- ranges: every report; each contestant's least, median and p99.
- size: groups that differ in one number ("100 follows", "1,000 follows") are a curve of the cost
  against that number.
- load: `figures["load"]`, a list of {"offered_per_s", "p50_ms", "p99_ms", ...}.
- share: `figures["milliseconds"]`, {part: CPU-milliseconds of one feed}.
- roofline: `figures["roofline"]`, {"flops_per_s_peak", "bytes_per_s_peak", "points": [{"name",
  "flops", "bytes", "seconds"}]}.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.page.svg import Points, curves, ranges

NUMBER = re.compile(r"\d[\d,]*")
ROWS_MAX = 40  # a picture of more is no picture; the JSON has all
SCALE_TO_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3}

Found = Mapping[str, Any]


def pictures(found: Found) -> dict[str, str]:
    """Name → SVG, of one saved report."""
    area = found["area"]
    drawn = {f"{area}-ranges": _ranges(found)}
    for template, series in _by_size(found).items():
        slug = re.sub(r"[^a-z0-9]+", "-", template.lower()).strip("-")
        title = f"{area}: cost against size"
        drawn[f"{area}-size-{slug}"] = curves(title, template, "median, ms", series)
    figures = found["figures"]
    if figures.get("load"):
        drawn[f"{area}-load"] = _load(area, figures["load"])
    if figures.get("milliseconds"):
        drawn[f"{area}-share"] = _share(area, figures["milliseconds"])
    if figures.get("roofline"):
        drawn[f"{area}-roofline"] = _roofline(area, figures["roofline"])
    return {name: svg for name, svg in drawn.items() if svg}


def _timings(found: Found) -> Iterator[tuple[str, str, Mapping[str, Any], float]]:
    """(group, contestant, timing, factor to milliseconds)."""
    for group, timings in found["timings"].items():
        for name, timing in timings.items():
            if timing["minimum"] > 0:  # a logarithm wants it so
                yield group, name, timing, SCALE_TO_MS[timing["unit"]]


def _ranges(found: Found) -> str:
    rows = [
        (f"{group}: {name}"[-42:], t["minimum"] * ms, t["median"] * ms, t["p99"] * ms)
        for group, name, t, ms in _timings(found)
    ]
    title = f"{found['area']}: least, median and p99 (n as in the table)"
    return ranges(title, "ms", rows[:ROWS_MAX]) if rows else ""


def _by_size(found: Found) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Group name with its number taken out → contestant → (number, median in ms)."""
    by_template: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    sizes: dict[str, set[float]] = defaultdict(set)
    for group, name, timing, ms in _timings(found):
        numbers = NUMBER.findall(group)
        for number in numbers:
            template = group.replace(number, "…", 1)
            size = float(number.replace(",", ""))
            if size > 0:
                point = size, timing["median"] * ms
                by_template[template].setdefault(name, []).append(point)
                sizes[template].add(size)
    return {one: series for one, series in by_template.items() if len(sizes[one]) > 1}


def _load(area: str, rows: list[dict[str, float]]) -> str:
    series: dict[str, Points] = {
        name: [(row["offered_per_s"], row[f"{name}_ms"]) for row in rows] for name in ("p50", "p99")
    }
    title = f"{area}: latency from the scheduled moment against offered rate"
    return curves(title, "feeds offered a second", "ms", series)


def _share(area: str, parts: Mapping[str, float]) -> str:
    rows = [(name, ms, ms, ms) for name, ms in parts.items() if ms > 0]
    rows.sort(key=lambda row: -row[2])
    return ranges(f"{area}: where the processor's time of one feed goes", "CPU-ms", rows[:ROWS_MAX])


def _roofline(area: str, roof: Mapping[str, Any]) -> str:
    """Achieved rate against flops a byte, under both limits."""
    flops_peak, bytes_peak = roof["flops_per_s_peak"], roof["bytes_per_s_peak"]
    points = {
        one["name"]: [(one["flops"] / one["bytes"], one["flops"] / one["seconds"])]
        for one in roof["points"]
    }
    ridge = flops_peak / bytes_peak
    at = [x for ((x, _),) in points.values()] + [ridge]
    low, high = min(at) / 2, max(at) * 2
    limit = [(x, min(flops_peak, bytes_peak * x)) for x in (low, ridge, high)]
    series: dict[str, Points] = {"limit": limit, **points}
    return curves(f"{area}: roofline", "operations a byte", "operations a second", series)
