"""The training loop: budget, schedule, checkpoints, curves, progress; the same for both models.

With a budget of steps a run is a function of data, configuration, options and seed: killed and
resumed it ends with the same parameters. With a budget of seconds the schedule follows the clock.

Of several processes (`jax.distributed`) each runs this loop over the same batches, places the parts
of its own devices, and takes the same decisions; the first one writes and reports.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from phoenix import checkpoint as checkpoints
from phoenix.host_tables import init_params, open_host_tables
from phoenix.mesh import Layout, to_host
from phoenix.saving import CURVES_FILE, Saver, Snapshot
from phoenix.schedule import Schedule
from phoenix.tasks import Task
from phoenix.throughput import Meter, batch_size
from phoenix.train_step import (
    HostRows,
    Step,
    StepInputs,
    StepReport,
    TrainState,
    init_state,
    place_state,
)
from phoenix.training_options import Progress, ProgressEvent, TrainingOptions, TrainingResult
from phoenix.training_state import read_state

REPORT_EVERY_STEPS = 10  # reading a loss waits for the device; ten steps hide it


class Trainer:
    """Trains one task into one directory of checkpoints.

    `stop` is asked after every step (of several processes: every ten, by all): once it says True
    the run saves and returns as if its budget were spent, with `stopped` set.
    """

    def __init__(
        self,
        task: Task,
        options: TrainingOptions,
        directory: Path,
        *,
        progress: Progress | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        meta: dict[str, Any] | None = None,
        layout: Layout | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if options.seconds is not None and jax.process_count() > 1:
            raise ValueError(
                f"seconds={options.seconds} with {jax.process_count()} processes: their clocks "
                "differ and their schedules would too; give a budget of steps"
            )
        self._task, self._options, self._directory = task, options, directory
        self._progress, self._meta, self._stop = progress, meta or {}, stop
        self._schedule = Schedule(options, monotonic_s, monotonic_s())
        self._layout = layout or Layout.of(options.devices, options.model_devices)
        self._host = open_host_tables(task.config, options)
        params = init_params(task, options.seed, self._host)
        self._rows = {name: table.shape[0] for name, table in params["tables"].items()}
        self._state = init_state(params, options, self._layout)
        self._step_function = Step(task, options, self._layout, params["dense"])
        self._run_id = secrets.token_hex(8)
        self._first = jax.process_index() == 0
        self._saved_at = self._schedule.elapsed_seconds
        self._steps = 0
        self._curve: list[dict[str, float]] = []
        self._meter = Meter()
        self._pending: list[StepReport] = []
        self._loss = math.nan

    def resume(self) -> bool:
        """Continue from the newest version in the directory; False when there is none."""
        path = checkpoints.latest(self._directory)
        if path is None:
            return False
        checkpoint = checkpoints.load(path)
        if checkpoint.config != self._task.config:
            raise checkpoints.CheckpointError(
                f"{path} holds another configuration; resume with its own, or train afresh into "
                "another directory"
            )
        arrays, position = read_state(checkpoint, self._training_arrays())
        tables = {name: checkpoint.params["tables"][name] for name in self._rows}
        average = checkpoint.params["dense"] if self._options.average_decay else None
        dense = arrays.pop("dense", checkpoint.params["dense"])
        params = {"dense": dense, "tables": tables}
        state = TrainState(params=params, average=average, **arrays)
        self._state = place_state(state, self._layout)
        if self._host is not None:
            self._host.restore(path)
        self._task.batches.load_state_dict(position["data"])
        self._steps = int(arrays["step"])
        self._schedule.before_seconds = self._saved_at = float(position["elapsed_seconds"])
        self._run_id = checkpoint.meta.get("run_id", self._run_id)
        self._loss = float(checkpoint.meta["metrics"].get("loss", math.nan))
        with suppress(FileNotFoundError):  # curves are for people; a run without them goes on
            self._curve = [
                point
                for point in json.loads((self._directory / CURVES_FILE).read_text())
                if point["step"] <= self._steps
            ]
        return True

    def run(self) -> TrainingResult:
        """Train until the budget is spent; writes and returns the last checkpoint."""
        config, keep = self._task.config, self._options.keep
        with Saver(self._directory, config, self._run_id, keep) as saver:
            return self._run(saver)

    def _run(self, saver: Saver) -> TrainingResult:
        if self._first:
            saver.begin()
        saved, stopped = False, False
        for _ in self._budget():
            self._one_step()
            saved = False
            due, stopped = self._agreed(self._save_is_due(), self._stop())
            if due:
                self._save(saver)
                saved = True
            if stopped:
                break
        self._report()
        if not saved:
            self._save(saver)
        return self._result(saver.finish(), stopped and self._schedule.fraction(self._steps) < 1.0)

    def _budget(self) -> Iterator[None]:
        while self._schedule.fraction(self._steps) < 1.0:
            yield

    def _save_is_due(self) -> bool:
        every, seconds = (
            self._options.checkpoint_every_steps,
            self._options.checkpoint_every_seconds,
        )
        if every and self._steps % every == 0:
            return True
        return seconds is not None and self._schedule.elapsed_seconds - self._saved_at >= seconds

    def _agreed(self, *wishes: bool) -> tuple[bool, ...]:
        """What any process wishes, known to all at the same step; one process has its way."""
        if jax.process_count() == 1:
            return wishes
        every = self._options.checkpoint_every_steps
        if self._steps % REPORT_EVERY_STEPS and not (every and self._steps % every == 0):
            return tuple(False for _ in wishes)
        from jax.experimental import multihost_utils

        return tuple(np.any(multihost_utils.process_allgather(np.array(wishes)), axis=0).tolist())

    def _one_step(self) -> None:
        started = self._schedule.monotonic_s()
        # Of (seed, step) alone: a resumed run hides the same ids.
        rng = np.random.default_rng([self._options.seed, self._steps])
        batch = self._task.batches.next_batch()
        inputs = self._step_inputs(self._task.inputs(batch, rng))
        built = self._schedule.monotonic_s() - started
        idle = not self._pending or _is_ready(self._pending[-1].loss)
        rates = self._schedule.rates(self._steps)
        self._state, report = self._step_function(self._state, inputs, *rates)
        if self._host is not None:  # waits for the step: the next one reads these rows
            self._host.update(report.host_gradients, float(rates[1]))
        self._pending.append(report)
        self._steps += 1
        # A step's loss is awaited one step later: the next batch is built while it computes.
        if len(self._pending) > 1:
            self._pending[-2].loss.block_until_ready()
        seconds = self._schedule.monotonic_s() - started
        self._meter.add(seconds, built if idle else 0.0, batch_size(batch))
        if self._steps % REPORT_EVERY_STEPS == 0:
            self._report()

    def _step_inputs(self, inputs: Any) -> StepInputs:
        """On the mesh, with the batch's rows of the tables that are on the host."""
        host: dict[str, HostRows] = {}
        if self._host is not None:
            for name, read in self._host.read(self._task.hashes(inputs)).items():
                rows = self._layout.place_dense(read.rows)
                host[name] = HostRows(rows, self._layout.place_batch(read.places))
        return StepInputs(self._layout.place_batch(inputs), host)

    def _report(self) -> None:
        if not self._pending:
            return
        losses = np.array([float(report.loss) for report in self._pending])
        finite = losses[np.isfinite(losses)]
        self._loss = float(finite.mean()) if len(finite) else math.nan
        last = self._pending[-1]
        self._curve.append(
            {
                "step": self._steps,
                "elapsed_seconds": round(self._schedule.elapsed_seconds, 3),
                "loss": self._loss,
                "gradient_norm": float(last.gradient_norm),
                **{name: float(value) for name, value in last.parts.items()},
            }
        )
        self._pending.clear()
        if self._progress is not None and self._first:
            self._progress(self._event())

    def _event(self) -> ProgressEvent:
        return ProgressEvent(
            step=self._steps,
            loss=self._loss,
            elapsed_seconds=self._schedule.elapsed_seconds,
            remaining_seconds=self._schedule.remaining_seconds(self._steps),
            fraction=min(self._schedule.fraction(self._steps), 1.0),
            skipped_steps=int(self._state.skipped),
        )

    def _save(self, saver: Saver) -> None:
        """Of several processes all gather, the first one writes."""
        self._report()
        self._saved_at = self._schedule.elapsed_seconds
        averaged = self._state.average
        dense = to_host(self._state.params["dense"] if averaged is None else averaged)
        tables = self._trimmed(to_host(self._state.params["tables"]))
        arrays = self._training_arrays() if self._options.keep_state else None
        snapshot = Snapshot(
            step=self._steps,
            params={"dense": dense, "tables": tables},
            arrays=arrays,
            position={
                "data": self._task.batches.state_dict(),
                "elapsed_seconds": self._schedule.elapsed_seconds,
            },
            meta={**self._meta, "options": _plain(self._options), "metrics": self._metrics()},
            curve=list(self._curve),
            write_tables=self._host.write if self._host is not None else None,
        )
        if self._first:
            saver.save(snapshot)

    def _training_arrays(self) -> dict[str, Any]:
        """On the host and as on one device, what a version needs beside its parameters."""
        state = self._state
        arrays = {
            "optimizer": to_host(state.optimizer),
            "accumulators": self._trimmed(to_host(state.accumulators)),
            "step": to_host(state.step),
            "skipped": to_host(state.skipped),
        }
        if state.average is not None:  # a version's parameters are the mean: these go on from it
            arrays["dense"] = to_host(state.params["dense"])
        return arrays

    def _trimmed(self, tables: dict[str, Any]) -> dict[str, Any]:
        """Without the rows that fill a mesh."""
        return {name: table[: self._rows[name]] for name, table in tables.items()}

    def _metrics(self) -> dict[str, float]:
        return {
            "loss": self._loss,
            "skipped_steps": int(self._state.skipped),
            "elapsed_seconds": round(self._schedule.elapsed_seconds, 3),
        }

    def _result(self, path: Path | None, stopped: bool) -> TrainingResult:
        throughput = self._meter.throughput(self._layout.devices, self._step_function.flops)
        return TrainingResult(
            checkpoint_path=path,
            model_version=_model_version(path) if path is not None else "",
            steps=self._steps,
            skipped_steps=int(self._state.skipped),
            final_loss=self._loss,
            seconds=self._schedule.elapsed_seconds,
            step_ms=throughput.step_ms_p50 if throughput else math.nan,
            stopped=stopped,
            throughput=throughput,
        )


def _is_ready(array: Any) -> bool:
    """Whether it is computed already, so that whoever would compute on has nothing to do."""
    return bool(array.is_ready())


def _model_version(path: Path) -> str:
    meta = json.loads((path / checkpoints.META_FILE).read_text())
    return str(meta["model_version"])


def _plain(options: TrainingOptions) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return plain
