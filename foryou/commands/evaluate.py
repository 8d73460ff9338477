"""`foryou eval kuairand`: the ranker on real impressions, beside the baselines of the same run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from foryou.commands.evaluate_sequential import EXAMPLES as SEQUENTIAL_EXAMPLES
from foryou.commands.evaluate_sequential import sequential
from foryou.commands.skew import SKEW_EXAMPLES, skew
from foryou.errors import UsageError
from foryou.progress import ProgressLines

KUAIRAND_EXAMPLES = "Example: foryou eval kuairand --data kuairand_pure --json"


def app() -> typer.Typer:
    """One command a data set."""
    group = typer.Typer(
        help="Measure ranking and recommendation on real data.", no_args_is_help=True
    )
    group.command("kuairand", epilog=KUAIRAND_EXAMPLES)(kuairand)
    group.command("sequential", epilog=SEQUENTIAL_EXAMPLES)(sequential)
    group.command("skew", epilog=SKEW_EXAMPLES)(skew)
    return group


def kuairand(
    data: Annotated[Path, typer.Option(help="Directory with KuaiRand-Pure's files.")],
    test: Annotated[
        Path | None,
        typer.Option(help="Rows to predict; then all of DATA is for training. [default: last day]"),
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="Earlier test rows enter a viewer's history.")
    ] = False,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Write a Parquet of user_id, video_id, time_ms and p_<action>."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Keep the checkpoint there, with evaluation.parquet and evaluation.json beside it."
        ),
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Leave the last day out; test on the day before it.")
    ] = False,
    baselines: Annotated[
        str,
        typer.Option(help="Fitted beside the model: all, none, or names with commas between."),
    ] = "all",
    calibrate: Annotated[
        bool,
        typer.Option(help="Train twice, to fit each head's calibration on the last training day."),
    ] = True,
    ablate: Annotated[
        str | None,
        typer.Option(help="all, or choices by name: what each brings, on the validation day."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="With --ablate: trainings to average a choice over.", min=1)
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Step budget of the training.", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="Time budget of the training.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Train on KuaiRand-Pure's impressions before the last day; measure on that day.

    Per action: AUC, GAUC, log loss and calibration error with standard errors, and the long_view
    primary, beside LightGBM, a factorisation machine, a user × item rate, item popularity and
    co-occurrence on the same rows. No test row's outcome is looked at before it is measured.
    """
    if not data.is_dir():
        raise UsageError(f"--data {data} is no directory; expected KuaiRand-Pure's files there")
    if test is not None and not test.is_file():
        raise UsageError(f"--test {test} is no file")
    if predictions is not None and predictions.is_dir():
        raise UsageError(f"--predictions {predictions} is a directory; expected a file to write")
    if keep is not None and keep.exists() and not keep.is_dir():
        raise UsageError(f"--keep {keep} is a file; expected a directory to make or to add to")
    if ablate is not None:
        _ablate(data, ablate, range(seed, seed + seeds), steps, as_json)
        return
    from phoenix.evaluation.baselines.suite import BASELINES, check_names
    from phoenix.evaluation.kuairand import run
    from phoenix.evaluation.kuairand_table import format_table

    try:
        named = check_names(_names(baselines, BASELINES))
    except ValueError as error:
        raise UsageError(f"--baselines: {error}, or all, or none") from error

    result = run(
        data,
        test,
        online,
        predictions,
        seed=seed,
        steps=steps,
        seconds=seconds,
        checkpoint_dir=keep,
        validate=validate,
        baselines=named,
        calibrate=calibrate,
        told=lambda line: print(line, file=sys.stderr, flush=True),
        progress=ProgressLines("ranker", sys.stderr),
    )
    print(json.dumps(result) if as_json else format_table(result))


def _names(given: str, everything: Sequence[str]) -> list[str]:
    """Of all, none, or a list."""
    if given in ("all", "none"):
        return list(everything) if given == "all" else []
    return [name.strip() for name in given.split(",") if name.strip()]


def _ablate(data: Path, wanted: str, seeds: range, steps: int | None, as_json: bool) -> None:
    """Print what choices bring."""
    from phoenix.evaluation.kuairand_ablation import ablate, format_ablation, names_of

    try:
        names = names_of(wanted)
    except ValueError as error:
        raise UsageError(f"--ablate: {error}") from error
    result = ablate(
        data,
        names,
        seeds=list(seeds),
        steps=steps,
        progress=lambda label: ProgressLines(label, sys.stderr),
    )
    print(json.dumps(result) if as_json else format_ablation(result))
