"""`foryou train ranker|retrieval`: a model from the events, or from a Parquet of impressions.

The events are Kafka's where KAFKA_BOOTSTRAP_SERVERS names brokers, else those of DATA_DIR/log.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from foryou.commands.train_flags import (
    CHECKPOINT_SECONDS,
    KEEP,
    AverageDecay,
    CheckpointEvery,
    Coordinator,
    Devices,
    HostTableMb,
    HostTables,
    Keep,
    ModelDevices,
    NumProcesses,
    Optimizer,
    PricePerHour,
    ProcessId,
    connect,
    costs,
    stopping,
    throughput_line,
)
from foryou.errors import CommandError, UsageError
from foryou.progress import ProgressLines

if TYPE_CHECKING:
    from phoenix.data.impressions import Impressions
    from phoenix.training_options import TrainingOptions, TrainingResult

RANKER_EXAMPLES = "Example: foryou train ranker --data-dir .foryou --seconds 60"
RETRIEVAL_EXAMPLES = "Example: foryou train retrieval --parquet impressions.parquet --steps 2000"
SECONDS_DEFAULT = 60.0

Config = TypeVar("Config")

DataDir = Annotated[Path, typer.Option(help="Directory that the services share.")]
Log = Annotated[
    Path | None, typer.Option(help="Event log to read. [default: Kafka, or DATA_DIR/log]")
]
Parquet = Annotated[Path | None, typer.Option(help="Impressions to read instead of the log.")]
Preset = Annotated[str, typer.Option(help="Size of the model: nano, demo or mid.")]
Seconds = Annotated[float | None, typer.Option(help="Time budget. [default: 60 without --steps]")]
Steps = Annotated[int | None, typer.Option(help="Step budget.")]
Seed = Annotated[int, typer.Option(help="Seed of parameters, batches and dropout.")]
Out = Annotated[Path | None, typer.Option(help="[default: DATA_DIR/checkpoints/MODEL]")]
UntilMs = Annotated[int | None, typer.Option(help="Ignore events at or after it (unix ms).")]
Start = Annotated[
    Path | None, typer.Option(help="Trained ranker to begin with: a short training gains much.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def app() -> typer.Typer:
    """The two trainings."""
    group = typer.Typer(help="Train a model from events.", no_args_is_help=True)
    group.command("ranker", epilog=RANKER_EXAMPLES)(ranker)
    group.command("retrieval", epilog=RETRIEVAL_EXAMPLES)(retrieval)
    return group


def ranker(
    data_dir: DataDir = Path(".foryou"),
    log: Log = None,
    parquet: Parquet = None,
    preset: Preset = "demo",
    seconds: Seconds = None,
    steps: Steps = None,
    seed: Seed = 0,
    out: Out = None,
    until_ms: UntilMs = None,
    checkpoint_every: CheckpointEvery = None,
    keep: Keep = KEEP,
    resume: Resume = False,
    optimizer: Optimizer = "adamw",
    average_decay: AverageDecay = 0.0,
    devices: Devices = None,
    model_devices: ModelDevices = 1,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    host_tables: HostTables = None,
    host_table_mb: HostTableMb = 1_024.0,
    price_per_hour: PricePerHour = None,
    as_json: AsJson = False,
) -> None:
    """Train the ranker: every action's probability and the seconds of dwell for each candidate."""
    from phoenix.config import ranker_preset
    from phoenix.training import train_ranker
    from phoenix.training_options import demo_ranker_options

    config = _config(ranker_preset, preset)
    options = _options(
        demo_ranker_options,
        seconds=seconds,
        steps=steps,
        seed=seed,
        keep=keep,
        optimizer=optimizer,
        average_decay=average_decay,
        devices=devices,
        model_devices=model_devices,
        host_tables=str(host_tables) if host_tables else None,
        host_table_mb_min=host_table_mb,
        checkpoint_every_steps=checkpoint_every,
    )
    connect(coordinator, num_processes, process_id)
    impressions = _impressions(data_dir, log, parquet, until_ms)

    with stopping() as stop:
        result = train_ranker(
            impressions,
            config.with_actions(impressions.action_names),
            options,
            out or data_dir / "checkpoints" / "ranker",
            progress=ProgressLines("ranker", sys.stderr),
            resume=resume,
            stop=stop.is_set,
        )
    _finish(result, as_json, price_per_hour)


def retrieval(
    data_dir: DataDir = Path(".foryou"),
    log: Log = None,
    parquet: Parquet = None,
    preset: Preset = "demo",
    seconds: Seconds = None,
    steps: Steps = None,
    seed: Seed = 0,
    out: Out = None,
    until_ms: UntilMs = None,
    start: Start = None,
    checkpoint_every: CheckpointEvery = None,
    keep: Keep = KEEP,
    resume: Resume = False,
    optimizer: Optimizer = "adamw",
    average_decay: AverageDecay = 0.0,
    devices: Devices = None,
    model_devices: ModelDevices = 1,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    host_tables: HostTables = None,
    host_table_mb: HostTableMb = 1_024.0,
    price_per_hour: PricePerHour = None,
    as_json: AsJson = False,
) -> None:
    """Train the two towers of retrieval: viewers and posts as unit vectors in one space."""
    from phoenix.checkpoint import CheckpointError, load_ranker
    from phoenix.config import retrieval_preset
    from phoenix.training import train_retrieval
    from phoenix.training_options import demo_retrieval_options

    try:
        begin = load_ranker(start)[1].params if start else None
    except CheckpointError as error:
        raise UsageError(f"--start: {error}") from error
    config = _config(retrieval_preset, preset)
    options = _options(
        demo_retrieval_options,
        seconds=seconds,
        steps=steps,
        seed=seed,
        keep=keep,
        optimizer=optimizer,
        average_decay=average_decay,
        devices=devices,
        model_devices=model_devices,
        host_tables=str(host_tables) if host_tables else None,
        host_table_mb_min=host_table_mb,
        checkpoint_every_steps=checkpoint_every,
    )
    connect(coordinator, num_processes, process_id)
    impressions = _impressions(data_dir, log, parquet, until_ms)

    with stopping() as stop:
        result = train_retrieval(
            impressions,
            config.with_actions(impressions.action_names),
            options,
            out or data_dir / "checkpoints" / "retrieval",
            start=begin,
            progress=ProgressLines("retrieval", sys.stderr),
            resume=resume,
            stop=stop.is_set,
        )
    _finish(result, as_json, price_per_hour)


def _config(presets: Callable[[str], Config], name: str) -> Config:
    try:
        return presets(name)
    except ValueError as error:
        raise UsageError(f"--preset: {error}") from error


def _options(preset: Callable[..., TrainingOptions], **given: Any) -> TrainingOptions:
    if given["seconds"] is None and given["steps"] is None:
        given["seconds"] = SECONDS_DEFAULT
    if given["checkpoint_every_steps"] is None:
        given["checkpoint_every_seconds"] = CHECKPOINT_SECONDS
    try:
        return preset(**given)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _impressions(
    data_dir: Path, log: Path | None, parquet: Path | None, until_ms: int | None
) -> Impressions:
    """What to learn from; CommandError where there is nothing."""
    if parquet is not None:
        if until_ms is not None:
            raise UsageError(
                f"--until-ms {until_ms} cuts an event log and --parquet {parquet} is already "
                "joined: leave one of the two out, or write the Parquet from the log up to then"
            )
        from phoenix.data.impressions import Impressions

        return Impressions.read_parquet(parquet)
    place, impressions = _from_events(data_dir, log, until_ms)
    if not (impressions.weight > 0).any():
        raise CommandError(
            f"{place} holds no served post old enough to train on; make some traffic first "
            "(`foryou demo` does), or name another log with --log or KAFKA_BOOTSTRAP_SERVERS"
        )
    return impressions


def _from_events(data_dir: Path, log: Path | None, until_ms: int | None) -> tuple[str, Impressions]:
    """Where the events are, in words, and what they make."""
    from foryou.settings import deployment
    from phoenix.data.join import impressions_from_deployment, impressions_from_log
    from service_kit.event_log import LogUnavailableError, TopicError

    if log is not None:
        return str(log), impressions_from_log(log, until_ms)
    settings = deployment(data_dir)
    brokers = settings.kafka_bootstrap_servers
    place = f"Kafka at {brokers}" if brokers else str(settings.log_dir)
    try:
        return place, impressions_from_deployment(settings, until_ms)
    except (LogUnavailableError, TopicError, TimeoutError) as error:
        raise CommandError(f"{place}: {error}") from error


def _finish(result: TrainingResult, as_json: bool, price_per_hour: float | None) -> None:
    """Of several processes the first one speaks."""
    if result.checkpoint_path is None:
        return
    if result.stopped:
        print(
            f"stopped at step {result.steps} and saved; the same command with --resume goes on",
            file=sys.stderr,
        )
    if as_json:
        summary = {
            "checkpoint": str(result.checkpoint_path),
            "model_version": result.model_version,
            "steps": result.steps,
            "skipped_steps": result.skipped_steps,
            "loss": _finite(result.final_loss),
            "seconds": result.seconds,
            "step_ms": _finite(result.step_ms),
            "stopped": result.stopped,
            **costs(result, price_per_hour),
        }
        print(json.dumps(summary))
        return
    print(f"{result.steps} steps, loss {result.final_loss:.4f}: {result.checkpoint_path}")
    if result.throughput is not None:
        print(throughput_line(result.throughput, price_per_hour))


def _finite(value: float) -> float | None:
    """JSON has no nan: a resumed training with nothing left to do has no step to time."""
    return value if math.isfinite(value) else None
