"""`foryou eval sequential`: the sequential recommender, beside untrained rows of the same run."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foryou.errors import UsageError

if TYPE_CHECKING:
    from phoenix.sequential.experiment import Result
    from phoenix.sequential.protocol import Protocol

EXAMPLES = (
    "Examples: foryou eval sequential --data ml-1m.txt --seeds 0,1,2 · "
    "foryou eval sequential --protocol split --train train.txt --test test.txt"
)


class ProtocolName(StrEnum):
    LEAVE_ONE_OUT = "leave-one-out"
    SPLIT = "split"


class Order(StrEnum):
    TIME = "time"
    NONE = "none"


def sequential(
    data: Annotated[
        Path | None, typer.Option(help="leave-one-out: file of `user item` lines, in order.")
    ] = None,
    protocol: Annotated[
        ProtocolName, typer.Option(help="What is held out.")
    ] = ProtocolName.LEAVE_ONE_OUT,
    train: Annotated[
        Path | None, typer.Option(help="split: file of `user item item …` lines to train on.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="split: the same, to find.")] = None,
    order: Annotated[
        Order | None,
        typer.Option(
            help="Whether a user's order means time. [default: time; split: none]",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the trainings, by comma.")] = "0",
    preset: Annotated[str, typer.Option(help="nano (seconds, for tests), base or wide.")] = "base",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE of the model or its training; may be repeated."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of a training.", min=1)] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Time budget of a training; the schedule follows it.")
    ] = None,
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit/--no-refit",
            help="Also train anew on training + validation. [default: no; split: yes]",
            show_default=False,
        ),
    ] = None,
    ablate: Annotated[
        str | None,
        typer.Option(help="Measure the named changes, by comma, or all of them, at equal epochs."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Write a Parquet of user, rank, item, score: the 200 best of each."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Directory that receives the first seed's model.")
    ] = None,
    tuned_malloc: Annotated[
        bool,
        typer.Option(
            help="On a CPU start again with memory settings that halve a training's time."
        ),
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Train a sequential recommender on a file of users and items, and measure it.

    HR and NDCG at 10, 50 and 200 (split: Recall and NDCG at 20) over the full catalogue with seen
    items left out, beside popularity and co-occurrence counts of the same run. docs/sequential.md
    says precisely what is held out and how ties count.
    """
    files = _files(protocol, data, train, test)
    changes = _changes(preset, settings or [], epochs, seconds)
    chosen_seeds = _seeds(seeds)
    for path in (predictions, checkpoint):
        _check_output(path, is_directory=path is checkpoint)
    if tuned_malloc:
        from foryou.tuned_malloc import start_again_tuned

        start_again_tuned()
    prepared = _prepare(protocol, files, order)
    if protocol is ProtocolName.SPLIT and not prepared.ordered:
        changes = {"causal": False, "positions": "none", **changes}
    if ablate is not None:
        _ablate(prepared, changes, ablate, chosen_seeds, as_json)
        return
    wants_refit = protocol is ProtocolName.SPLIT if refit is None else refit
    result = _run(prepared, changes, chosen_seeds, wants_refit)
    _print(result, _written(result, predictions, checkpoint), as_json)


def _run(prepared: Protocol, changes: dict[str, Any], seeds: list[int], refit: bool) -> Result:
    from phoenix.sequential.config import configure
    from phoenix.sequential.experiment import run

    config, training = configure(prepared.interactions.num_items, changes)
    return run(prepared, config, training, seeds, refit=refit, say=_say)


def _print(result: Result, outputs: dict[str, str], as_json: bool) -> None:
    from phoenix.sequential import report

    if as_json:
        print(json.dumps({**report.as_json(result), "outputs": outputs}))
        return
    print(report.as_text(result))
    for name, text in outputs.items():
        print(f"{name}: {text}")


def _written(result: Result, predictions: Path | None, checkpoint: Path | None) -> dict[str, str]:
    """Write what was asked for → {what: where and of which row}."""
    outputs = {}
    if predictions is not None:
        from phoenix.sequential.experiment import first_ranking
        from phoenix.sequential.predictions import write_predictions
        from phoenix.sequential.ranking import TOP_ITEMS

        ranking, name = first_ranking(result, TOP_ITEMS)
        count = write_predictions(predictions, result.protocol.interactions, ranking)
        outputs["predictions"] = f"{predictions}: {count:,} rows of {name}"
    if checkpoint is not None:
        from phoenix.sequential.saving import save_first

        path, name = save_first(checkpoint, result)
        _keep_result(path, result)
        outputs["checkpoint"] = f"{path}: {name}"
    return outputs


def _keep_result(version: Path, result: Result) -> None:
    """What --json prints, beside the version and naming it: `foryou report` reads it."""
    from phoenix.evaluation.kept import RESULT_FILE
    from phoenix.sequential import report

    text = json.dumps({**report.as_json(result), "version": version.name}, indent=1)
    (version.parent / RESULT_FILE).write_text(text + "\n")


def _ablate(
    prepared: Protocol, changes: dict[str, Any], names: str, seeds: list[int], as_json: bool
) -> None:
    from phoenix.sequential import ablation

    try:
        chosen = ablation.parse_names(names)
    except ValueError as error:
        raise UsageError(str(error)) from error
    lines = ablation.ablate(prepared, changes, chosen, seeds, say=_say)
    print(json.dumps(ablation.as_json(lines)) if as_json else ablation.as_text(lines))


def _prepare(protocol: ProtocolName, files: list[Path], order: Order | None) -> Protocol:
    from phoenix.sequential.interactions import read_interactions, read_split
    from phoenix.sequential.protocol import leave_one_out, split

    if protocol is ProtocolName.SPLIT:
        return split(read_split(*files), ordered=order is Order.TIME)
    if order is Order.NONE:
        raise UsageError("--order none: leave-one-out holds out the last item, so order is time")
    return leave_one_out(read_interactions(files[0]))


def _files(
    protocol: ProtocolName, data: Path | None, train: Path | None, test: Path | None
) -> list[Path]:
    if protocol is ProtocolName.SPLIT:
        needed, other = {"--train": train, "--test": test}, {"--data": data}
    else:
        needed, other = {"--data": data}, {"--train": train, "--test": test}
    for name, path in other.items():
        if path is not None:
            raise UsageError(f"{name} is not for --protocol {protocol}: give {', '.join(needed)}")
    found = []
    for name, path in needed.items():
        if path is None:
            raise UsageError(f"--protocol {protocol} needs {name} FILE")
        if not path.is_file():
            raise UsageError(f"{name} {path} is no file")
        found.append(path)
    return found


def _changes(
    name: str, settings: list[str], epochs: int | None, seconds: float | None
) -> dict[str, Any]:
    """Preset, then --set, then the budgets. UsageError: what was wrong."""
    from phoenix.sequential.config import configure, parse_setting, preset

    try:
        changes = {**preset(name), **dict(parse_setting(text) for text in settings)}
        changes |= {"epochs": epochs} if epochs is not None else {}
        changes |= {"seconds": seconds} if seconds is not None else {}
        configure(2, changes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return changes


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {text!r}: expected whole numbers by comma, as 0,1,2") from error
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text!r}: expected different numbers from 0 on")
    return seeds


def _check_output(path: Path | None, *, is_directory: bool) -> None:
    """Say before a training that its result could not be written."""
    if path is None:
        return
    if is_directory and path.exists() and not path.is_dir():
        raise UsageError(f"--checkpoint {path} is no directory")
    if not is_directory and (path.is_dir() or not path.parent.is_dir()):
        raise UsageError(f"--predictions {path}: expected a file in a directory that exists")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
