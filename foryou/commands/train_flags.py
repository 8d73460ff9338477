"""What `foryou train` takes beside data and budget: devices, processes, checkpoints, optimiser."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foryou.errors import UsageError

if TYPE_CHECKING:
    from phoenix.training_options import Throughput, TrainingResult

CHECKPOINT_SECONDS = 60.0  # a kill loses a minute at most
KEEP = 3  # versions of a run that writes many: the newest, and two to go back to

CheckpointEvery = Annotated[
    int | None,
    typer.Option(help="Steps between checkpoints to resume from. [default: one a minute]"),
]
Keep = Annotated[int, typer.Option(min=1, help="Versions of this run to keep, the newest.")]
Optimizer = Annotated[
    str, typer.Option(help="Of the dense parameters: adamw, or muon for the matrices.")
]
AverageDecay = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=0.9999,
        help="Keep the mean of the dense parameters over the last steps, each counting this much"
        " less than the next: 0.99 is some hundred steps. [default: the last parameters]",
        show_default=False,
    ),
]
Devices = Annotated[int | None, typer.Option(help="Devices of the mesh. [default: all]")]
ModelDevices = Annotated[
    int, typer.Option(help="Of them, along the model axis: they share tables, not the batch.")
]
Coordinator = Annotated[
    str | None, typer.Option(help="HOST:PORT of process 0, for a training of several processes.")
]
NumProcesses = Annotated[int | None, typer.Option(help="Processes in all, with --coordinator.")]
ProcessId = Annotated[
    int | None, typer.Option(help="Which of them this is, from 0; 0 writes the checkpoints.")
]
HostTables = Annotated[
    Path | None,
    typer.Option(help="Directory for tables too large for the devices: files, mapped."),
]
HostTableMb = Annotated[float, typer.Option(help="Tables of so many MB and more go there.")]
PricePerHour = Annotated[
    float | None, typer.Option(help="Price of one device for an hour, to print costs.")
]


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the other processes of a training; before JAX sees its devices.

    UsageError: one of the three is missing or out of range, or nobody answers.
    """
    given = (coordinator, num_processes, process_id)
    if all(value is None for value in given):
        return
    if coordinator is None or num_processes is None or process_id is None:
        raise UsageError(
            "a training of several processes needs all of --coordinator HOST:PORT, "
            "--num-processes N and --process-id I, each process with its own I"
        )
    if not 0 <= process_id < num_processes:
        raise UsageError(
            f"--process-id {process_id} is not in 0 to {num_processes - 1} (--num-processes)"
        )
    import jax

    # Has a meaning on CPU alone, where XLA has no collectives of its own across processes.
    config: Any = jax.config
    config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"--coordinator {coordinator}: the {num_processes} processes did not meet: {error}"
        ) from error


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """SIGTERM sets the event instead of ending the process, so that the training can save."""
    event = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)


def costs(result: TrainingResult, price_per_hour: float | None) -> dict[str, Any]:
    """Throughput and costs for --json; nothing where no step was timed."""
    found = result.throughput
    if found is None:
        return {}
    return {
        "devices": found.devices,
        "examples_per_second": found.examples_per_second,
        "tokens_per_second": found.tokens_per_second,
        "step_ms_p50": found.step_ms_p50,
        "step_ms_p99": found.step_ms_p99,
        "input_wait_share_max": found.input_wait_share,
        "flops_per_step": found.flops_per_step,
        "flops_per_second": found.flops_per_second,
        "device_hours": result.seconds * found.devices / 3_600,
        "device_hours_per_million_examples": found.device_hours_per_million,
        "cost_per_million_examples": None
        if price_per_hour is None
        else price_per_hour * found.device_hours_per_million,
    }


def throughput_line(found: Throughput, price_per_hour: float | None) -> str:
    """One line for people."""
    flops = found.flops_per_second
    parts = [
        f"{found.examples_per_second:,.0f} examples/s and {found.tokens_per_second:,.0f} tokens/s",
        f"on {found.devices} device{'s' if found.devices > 1 else ''}",
        f"step p50 {found.step_ms_p50:.1f} ms, p99 {found.step_ms_p99:.1f} ms",
        f"waiting for input at most {found.input_wait_share:.0%}",
    ]
    if flops is not None:
        parts.append(f"{flops / 1e9:.1f} GFLOP/s")
    if price_per_hour is not None:
        parts.append(f"{price_per_hour * found.device_hours_per_million:.4g} per million examples")
    return ", ".join(parts)
