"""`foryou bench`: every hot path beside its peers and its physical floor, in one run."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run
from typing import Annotated

import typer

from foryou.errors import CommandError

EXAMPLES = "Example: foryou bench pipeline --candidates 2800 --json"
PASSES_OPTIONS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def bench(
    context: typer.Context,
    area: Annotated[
        str | None, typer.Argument(help="What to measure, such as `pipeline`. [default: all]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, in seconds: does it run at all?")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an area and nothing else.")
    ] = False,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the result under benchmarks/results.")
    ] = False,
) -> None:
    """Measure speed: medians, p99 and spread of ours, the peers and the floor, interleaved.

    Other options go to the area: `foryou bench AREA -- --help` lists them.
    """
    checkout = Path(__file__).resolve().parents[2]
    script = checkout / "benchmarks" / "__main__.py"
    if not script.is_file():
        raise CommandError(f"{script} is missing: benchmarks run in a checkout of the repository")
    flags = {"--quick": quick, "--json": as_json, "--save": save}
    arguments = [*([area] if area else []), *(flag for flag, is_on in flags.items() if is_on)]
    command = [sys.executable, "-m", "benchmarks", *arguments, *context.args]
    done = run(command, cwd=checkout, check=False)
    raise typer.Exit(done.returncode)
