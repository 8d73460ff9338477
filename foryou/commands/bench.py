"""`foryou bench pipeline`: the columnar feed beside an object-per-candidate one, in one run."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run
from typing import Annotated

import typer

from foryou.errors import CommandError

PIPELINE_EXAMPLES = "Example: foryou bench pipeline --candidates 2800 --json"
CANDIDATES_DEFAULT = 2_800  # the most that one request scores


def app() -> typer.Typer:
    """One command a benchmark."""
    group = typer.Typer(help="Measure speed.", no_args_is_help=True)
    group.callback()(_group)
    group.command("pipeline", epilog=PIPELINE_EXAMPLES)(pipeline)
    return group


def _group() -> None:
    """Measure speed."""


def pipeline(
    candidates: Annotated[
        int, typer.Option(help="Candidates of the request.", min=1)
    ] = CANDIDATES_DEFAULT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Time the framework and the feed's components on in-memory clients.

    An object-per-candidate version that gives the same feed runs interleaved in the same process.
    """
    checkout = Path(__file__).resolve().parents[2]
    script = checkout / "benchmarks" / "pipeline.py"
    if not script.is_file():
        raise CommandError(f"{script} is missing: benchmarks run in a checkout of the repository")
    arguments = ["--candidates", str(candidates), *(["--json"] if as_json else [])]
    command = [sys.executable, "-m", "benchmarks.pipeline", *arguments]
    done = run(command, cwd=checkout, check=False)
    raise typer.Exit(done.returncode)
