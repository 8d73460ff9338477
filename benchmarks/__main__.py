"""`python -m benchmarks [AREA] [--quick] [--json] [--save]`: measures one area, or all of them.

Without an area each runs in a process of its own, one after another, so that none inherits
another's memory and threads. `python -m benchmarks AREA --help` lists an area's own options.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.areas import AREAS
from benchmarks.harness import Report

NEXT = "python -m benchmarks.page writes the page of figures anew"
RESULTS_DIR = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """0: measured, whatever the figures; 1: an area of several failed; 2: called wrongly."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and not given[0].startswith("-"):
        return _one_area(given)
    _whole_parser().parse_args(given)
    return max([_in_its_own_process(area, given) for area in AREAS], default=0)


def save(report: Report, arguments: list[str], directory: Path = RESULTS_DIR) -> Path:
    """The report as `<date>-<area>.json`; the day's earlier run of the area is replaced."""
    found = report.as_json() | {"command": " ".join(["foryou", "bench", *arguments])}
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{found['date']}-{report.area}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def _one_area(arguments: list[str]) -> int:
    area = arguments[0]
    if area not in AREAS:
        _whole_parser().error(f"no area {area!r}; there are {', '.join(AREAS)}")
    module_name, answers = AREAS[area]
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks {area}", description=answers)
    _add_shared_arguments(parser)
    module.add_arguments(parser)
    options = parser.parse_args(arguments[1:])
    try:
        report: Report = module.measure(options)
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps(report.as_json()) if options.json else report.as_text(), flush=True)
    if options.save:
        print(f"saved {save(report, arguments)}; {NEXT}", file=sys.stderr)
    return 0


def _in_its_own_process(area: str, flags: list[str]) -> int:
    command = [sys.executable, "-m", "benchmarks", area, *flags]
    code = subprocess.run(command, check=False).returncode
    if code:
        print(f"{area}: the benchmark ended with exit code {code}", file=sys.stderr)
    return min(abs(code), 1)


def _whole_parser() -> argparse.ArgumentParser:
    lines = [f"  {area:12}{answers}" for area, (_, answers) in AREAS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        usage="%(prog)s [AREA] [--quick] [--json] [--save] [options of the area]",
        description="\n".join(["Measures one area, or all:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_shared_arguments(parser)
    return parser


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--json", action="store_true", help="one JSON object an area, a line each")
    parser.add_argument("--save", action="store_true", help="keep the result under results/")


if __name__ == "__main__":
    sys.exit(main())
