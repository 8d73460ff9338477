"""Which pictures a saved report gives: found from the shape of its figures, area by area.

- ranges: every report; each contestant's least, median and p99.
- size: groups that differ in one number ("100 follows", "1,000 follows") are a curve of the cost
  against that number.
- load: `figures["load"]`, a list of {"offered_per_s", "p50_ms", "p99_ms", ...}.
- share: `figures["milliseconds"]`, {part: CPU-milliseconds of one feed}.
- roofline: `figures["roofline"]`, or one in a group of the figures: {name: {"flops", "bytes",
  "flop/s", and what limits it: "peak flop/s", "peak bytes/s" or both}}; of retrieval from its
  `figures["floor, GB/s"]`, as a scan multiplies and adds each code once a viewer.
"""

from __future__ import annotations

import math
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
        title = f"{area}: cost against size"
        drawn[f"{area}-size-{_slug(template)}"] = curves(title, template, "median, ms", series)
    figures = found["figures"]
    if figures.get("load"):
        drawn[f"{area}-load"] = _load(area, figures["load"])
    if figures.get("milliseconds"):
        drawn[f"{area}-share"] = _share(area, figures["milliseconds"])
    for group, rooms in _rooms(found).items():
        drawn[f"{area}-roofline{group}"] = _roofline(area, rooms)
    return {name: svg for name, svg in drawn.items() if svg}


def _timings(found: Found) -> Iterator[tuple[str, str, Mapping[str, Any], float]]:
    """(group, contestant, timing, factor to milliseconds)."""
    for group, timings in found["timings"].items():
        for name, timing in timings.items():
            if timing["minimum"] > 0:  # a logarithm wants it so
                yield group, name, timing, SCALE_TO_MS[timing["unit"]]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


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


def _rooms(found: Found) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """Rooflines of the whole report, or of its groups; the key is what a file's name ends with."""
    figures = found["figures"]
    rooms = {"": figures["roofline"]} if figures.get("roofline") else {}
    for group, of_group in figures.items():
        if isinstance(of_group, Mapping) and of_group.get("roofline"):
            rooms[f"-{_slug(group)}"] = of_group["roofline"]
    if "floor, GB/s" in figures:
        rooms[""] = _scans(found, figures["floor, GB/s"] * 1e9)
    return rooms


def _scans(found: Found, bytes_per_s: float) -> dict[str, dict[str, float]]:
    """Retrieval's own scans of int8 codes, at each batch size."""
    code_bytes = found["workload"]["posts"] * found["workload"]["width"]
    rooms = {}
    for group, name, timing, ms in _timings(found):
        batch = re.fullmatch(r"batch (\d+)", group)
        if batch and name == "ours, int8 codes":
            flops = 2.0 * code_bytes * int(batch[1])
            rate = flops / (timing["median"] * ms / 1e3)
            room = {"flops": flops, "bytes": code_bytes, "flop/s": rate}
            rooms[f"{name}, {group}"] = {**room, "peak bytes/s": bytes_per_s}
    return rooms


def _roofline(area: str, rooms: Mapping[str, Mapping[str, float]]) -> str:
    """Achieved rates against operations a byte, below their ceilings and memory's slope."""
    at = {name: one["flops"] / one["bytes"] for name, one in rooms.items()}
    low, high = min(at.values()) / 4, max(at.values()) * 4
    series: dict[str, Points] = {}
    for name, one in rooms.items():
        ceiling, slope = one.get("peak flop/s", math.inf), one.get("peak bytes/s", math.inf)
        edges = sorted({low, high, *([ceiling / slope] if low < ceiling / slope < high else [])})
        limit = [(x, min(ceiling, slope * x)) for x in edges]
        if math.isfinite(limit[0][1]) and limit not in series.values():
            series[f"limit of {name}"] = limit
        series[name] = [(at[name], one["flop/s"])]
    return curves(f"{area}: roofline", "operations a byte", "operations a second", series)
