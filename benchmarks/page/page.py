"""The page of figures, as text: every area's lines, timings and conditions from its newest JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.page.pictures import Found, pictures

HEADING = """# Performance

Every hot path beside its peers and its physical floor. Contestants of one run take turns in one
process or one minute, and a peer's answers equal ours before its time counts; only ratios within a
run are worth comparing, for machines drift. `foryou bench AREA` measures one area anew, and
`--save` keeps it under benchmarks/results; this page is written from there by
`python -m benchmarks.page` and nowhere else.
"""


def newest(directory: Path) -> dict[str, Found]:
    """Area → its newest saved report; files are called <date>-<area>.json."""
    found: dict[str, Found] = {}
    for path in sorted(directory.glob("*.json")):
        report = json.loads(path.read_text())
        found[report["area"]] = {**report, "file": path.name}
    return dict(sorted(found.items()))


def page(reports: Mapping[str, Found]) -> str:
    """docs/performance.md."""
    parts = [HEADING, "## What was promised, and what the run gave", "", *_promises(reports)]
    for area, found in reports.items():
        parts += ["", f"## {area}", "", *_area(found)]
    return "\n".join(parts).rstrip() + "\n"


def all_pictures(reports: Mapping[str, Found]) -> dict[str, str]:
    """File name → SVG."""
    drawn = (pictures(found) for found in reports.values())
    return {f"{name}.svg": svg for of_one in drawn for name, svg in of_one.items()}


def readme_table(reports: Mapping[str, Found]) -> str:
    """The first line of each area, which is its main one, and all that do not hold."""

    def shown(lines: Sequence[Found]) -> list[Found]:
        return [*lines[:1], *(line for line in lines[1:] if not line["met"])]

    found = {area: {**report, "lines": shown(report["lines"])} for area, report in reports.items()}
    return "\n".join(_promises(found))


def _promises(reports: Mapping[str, Found]) -> Iterator[str]:
    yield "| what | measured | line | |"
    yield "|---|---|---|---|"
    for found in reports.values():
        for line in found["lines"]:
            unit = " x" if line["unit"] == "x" else f" {line['unit']}"
            verdict = "held" if line["met"] else "**not held**"
            bar = f"{line['bound']} {line['bar']:,g}{unit}"
            yield f"| {line['what']} | {_number(line['measured'])}{unit} | {bar} | {verdict} |"


def _number(value: float) -> str:
    """Three figures; large ones in full."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _area(found: Found) -> Iterator[str]:
    machine, versions = found["machine"], found["versions"]
    yield (
        f"{found['date']}, {machine['cpu']}, {machine['cores']} cores, load"
        f" {machine['load_1_minute']:.1f}, commit {found['commit'] or 'unknown'};"
        f" {', '.join(f'{name} {version}' for name, version in versions.items())}."
    )
    command = found.get("command", f"foryou bench {found['area']}")
    yield f"`{command}` · [all figures](../benchmarks/results/{found['file']})"
    yield ""
    yield f"Workload: {_words(found['workload'])}."
    for name in pictures(found):
        yield ""
        yield f"![{name}](pictures/performance/{name}.svg)"
    for group, timings in found["timings"].items():
        yield ""
        yield f"| {group} | median | p99 | least | middle half | n |"
        yield "|---|---|---|---|---|---|"
        yield from (_timing(name, timing) for name, timing in timings.items())
    yield from _figures(found["figures"])
    for note in found["notes"]:
        yield ""
        yield note


def _timing(name: str, timing: Mapping[str, Any]) -> str:
    unit = timing["unit"]
    cells = [f"{_number(timing[key])} {unit}" for key in ("median", "p99", "minimum", "iqr")]
    return f"| {name} | {' | '.join(cells)} | {timing['n']} |"


def _figures(figures: Mapping[str, Any]) -> Iterator[str]:
    if figures:
        yield ""
    for name, value in figures.items():
        yield f"- {name}: {_words(value)}"


def _words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        rows = [f"({_words(one)})" if isinstance(one, Mapping) else _words(one) for one in value]
        return ", ".join(rows)
    return str(value)
