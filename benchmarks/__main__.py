"""`python -m benchmarks AREA [--quick] [--json] [--save]`: measures one area; see `areas`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from benchmarks.areas import AREAS
from benchmarks.harness import Report

RESULTS_DIR = Path(__file__).parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """0: measured, whatever the figures; 2: arguments that cannot be measured."""
    options, parser = _parse(arguments)
    try:
        report = importlib.import_module(AREAS[options.area][0]).measure(options)
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps(report.as_json()) if options.json else report.as_text(), flush=True)
    if options.save:
        print(f"saved {save(report)}", file=sys.stderr)
    return 0


def save(report: Report, directory: Path = RESULTS_DIR) -> Path:
    """The report as `<date>-<area>.json`; the day's earlier run of the area is replaced."""
    found = report.as_json()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{found['date']}-{report.area}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def _parse(arguments: list[str] | None) -> tuple[argparse.Namespace, argparse.ArgumentParser]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    areas = parser.add_subparsers(dest="area", required=True)
    for area, (module, answers) in AREAS.items():
        one = areas.add_parser(area, help=answers)
        one.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
        one.add_argument("--json", action="store_true", help="one JSON object and nothing else")
        one.add_argument("--save", action="store_true", help="keep the result under results/")
        importlib.import_module(module).add_arguments(one)
    return parser.parse_args(arguments), parser


if __name__ == "__main__":
    sys.exit(main())
