"""The training loop: budget, schedule, checkpoints, curves, progress; the same for both models.

With a budget of steps a run is a function of data, configuration, options and seed: killed and
resumed it ends with the same parameters. With a budget of seconds the schedule follows the clock.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from phoenix import checkpoint as checkpoints
from phoenix.tasks import Task
from phoenix.train_step import StepReport, init_state, make_step
from phoenix.training_options import Progress, ProgressEvent, TrainingOptions, TrainingResult
from phoenix.training_state import read_state, write_state

CURVES_FILE = "curves.json"
REPORT_EVERY_STEPS = 10  # reading a loss waits for the device; ten steps hide it
TABLE_RATE_FLOOR = 0.1  # the tables' rate falls to this share: AdaGrad already slows by itself


@dataclass(slots=True)
class _Clock:
    """Seconds spent, over all runs that this one continues; starts with the first step done."""

    monotonic_s: Callable[[], float]
    before: float
    started: float

    @property
    def elapsed(self) -> float:
        return self.before + self.monotonic_s() - self.started


class Trainer:
    """Trains one task into one directory of checkpoints."""

    def __init__(
        self,
        task: Task,
        options: TrainingOptions,
        directory: Path,
        *,
        progress: Progress | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        meta: dict[str, Any] | None = None,
    ) -> None:
        self._task, self._options, self._directory = task, options, directory
        self._progress, self._meta = progress, meta or {}
        self._clock = _Clock(monotonic_s, 0.0, monotonic_s())
        self._state = init_state(task, options)
        self._step_function = make_step(task, options, self._state.params["dense"])
        self._steps = 0
        self._curve: list[dict[str, float]] = []
        self._step_seconds: list[float] = []
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
        self._state, position = read_state(checkpoint, self._state)
        self._task.batches.load_state_dict(position["data"])
        self._steps = int(self._state.step)
        self._clock.before = float(position["elapsed_seconds"])
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
        self._directory.mkdir(parents=True, exist_ok=True)  # if it cannot be, say so at once
        saved: Path | None = None
        every = self._options.checkpoint_every_steps
        for _ in self._budget():
            self._one_step()
            saved = None
            if every and self._steps % every == 0:
                saved = self._save()
        self._report()
        saved = saved or self._save()
        return self._result(saved)

    def _budget(self) -> Iterator[None]:
        while self._fraction() < 1.0:
            yield

    def _fraction(self) -> float:
        """Of the budget that is spent, by whichever limit is nearer."""
        steps, seconds = self._options.steps, self._options.seconds
        by_steps = self._steps / steps if steps else 0.0
        by_seconds = self._clock.elapsed / seconds if seconds else 0.0
        return max(by_steps, by_seconds)

    def _one_step(self) -> None:
        started = self._clock.monotonic_s()
        # Of (seed, step) alone: a resumed run hides the same ids.
        rng = np.random.default_rng([self._options.seed, self._steps])
        inputs = self._task.inputs(self._task.batches.next_batch(), rng)
        rate, table_rate = self._rates()
        self._state, report = self._step_function(self._state, inputs, rate, table_rate)
        self._pending.append(report)
        self._steps += 1
        # A step's loss is awaited one step later: the next batch is built while it computes.
        if len(self._pending) > 1:
            self._pending[-2].loss.block_until_ready()
        self._step_seconds.append(self._clock.monotonic_s() - started)
        if self._steps % REPORT_EVERY_STEPS == 0:
            self._report()

    def _rates(self) -> tuple[jax.Array, jax.Array]:
        """Linear warm-up, then half a cosine over the budget."""
        options, fraction = self._options, min(self._fraction(), 1.0)
        warm = min(1.0, (self._steps + 1) / max(options.warmup_steps, 1))
        cosine = 0.5 * (1.0 + math.cos(math.pi * fraction))
        floor = options.final_rate_fraction
        dense = options.learning_rate * warm * (floor + (1.0 - floor) * cosine)
        table_share = TABLE_RATE_FLOOR + (1.0 - TABLE_RATE_FLOOR) * cosine
        return jnp.float32(dense), jnp.float32(options.table_learning_rate * table_share)

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
                "elapsed_seconds": round(self._clock.elapsed, 3),
                "loss": self._loss,
                "gradient_norm": float(last.gradient_norm),
                **{name: float(value) for name, value in last.parts.items()},
            }
        )
        self._pending.clear()
        if self._progress is not None:
            self._progress(self._event())

    def _event(self) -> ProgressEvent:
        fraction, elapsed = min(self._fraction(), 1.0), self._clock.elapsed
        remaining = elapsed * (1.0 - fraction) / fraction if fraction else math.inf
        return ProgressEvent(
            step=self._steps,
            loss=self._loss,
            elapsed_seconds=elapsed,
            remaining_seconds=remaining,
            fraction=fraction,
            skipped_steps=int(self._state.skipped),
        )

    def _save(self) -> Path:
        self._report()
        position = {
            "data": self._task.batches.state_dict(),
            "elapsed_seconds": self._clock.elapsed,
        }
        state = self._state
        path = checkpoints.save(
            self._directory,
            step=self._steps,
            config=self._task.config,
            params=_host(state.params),
            meta={**self._meta, "options": _plain(self._options), "metrics": self._metrics()},
            write_state=(lambda path: write_state(path, state, position))
            if self._options.keep_state
            else None,
        )
        _write_atomically(self._directory / CURVES_FILE, json.dumps(self._curve))
        return path

    def _metrics(self) -> dict[str, float]:
        return {
            "loss": self._loss,
            "skipped_steps": int(self._state.skipped),
            "elapsed_seconds": round(self._clock.elapsed, 3),
        }

    def _result(self, path: Path) -> TrainingResult:
        warm = self._step_seconds[2:] or self._step_seconds or [math.nan]
        meta = json.loads((path / checkpoints.META_FILE).read_text())
        return TrainingResult(
            checkpoint_path=path,
            model_version=meta["model_version"],
            steps=self._steps,
            skipped_steps=int(self._state.skipped),
            final_loss=self._loss,
            seconds=self._clock.elapsed,
            step_ms=float(np.median(warm)) * 1_000,
        )


def _host(params: Any) -> Any:
    return jax.tree.map(np.asarray, params)


def _plain(options: TrainingOptions) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(options)))
    return plain


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
