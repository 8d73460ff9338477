"""What every benchmark shares: contestants that take turns, medians, promised lines, a report.

A benchmark of an area is a module with two functions:

    add_arguments(parser)            # its own options; `--quick` and `--json` are everybody's
    measure(options) -> Report       # builds the workload, checks equality, then takes the time

`benchmarks.areas` lists them. Contestants of one run take turns, so that a machine that drifts
drifts under all of them; and none is timed before it has given the same answer as ours.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

Number = TypeVar("Number", int, float)
WARM_UP_TURNS = 3
MILLISECOND, MICROSECOND, SECOND = 1e-3, 1e-6, 1.0
PACKAGES = ("numpy", "numba", "jax", "grpcio", "protobuf", "aiokafka")


def take_turns(
    contestants: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    warm_up: int = WARM_UP_TURNS,
    most: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every run by contestant. `most` caps the turns of those that take long."""
    if repeats < 2:
        raise ValueError(f"repeats is {repeats}; at least 2 are expected, for a median and spread")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-warm_up, repeats):
        for name, contestant in contestants.items():
            if most and name in most and max(turn, 0) >= most[name]:
                continue
            gc.collect()  # one's garbage must not be collected on another's time
            started = time.perf_counter()
            contestant()
            elapsed = time.perf_counter() - started
            if turn >= 0:
                seconds[name].append(elapsed)
    return seconds


def sized(options: argparse.Namespace, name: str, full: Number, quick: Number) -> Number:
    """The option's number where one was given, else that of a full or of a quick run.

    ValueError for a given number that is not above 0.
    """
    given: Number | None = getattr(options, name)
    if given is None:
        return quick if options.quick else full
    if given <= 0:
        raise ValueError(f"--{name} is {given}; expected a number above 0")
    return given


@dataclass(frozen=True, slots=True)
class Timing:
    """One contestant's figures, in `unit`; `iqr` is the middle half's width."""

    median: float
    p99: float
    minimum: float
    iqr: float
    n: int
    unit: str = "ms"

    @classmethod
    def of(cls, seconds: Sequence[float], unit: str = "ms") -> Timing:
        scale = {"s": SECOND, "ms": MILLISECOND, "us": MICROSECOND}[unit]
        values = np.asarray(seconds, np.float64) / scale
        low, high = np.quantile(values, [0.25, 0.75])
        return cls(
            float(np.median(values)),
            float(np.quantile(values, 0.99)),
            float(values.min()),
            float(high - low),
            len(values),
            unit,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One promise and what the run gave: "store, 1,000 follows: at most 1.4 × the C kernel"."""

    what: str
    measured: float
    bar: float
    bound: Literal["at most", "at least"]
    unit: str = "x"  # "x" for a ratio

    @property
    def met(self) -> bool:
        if self.bound == "at most":
            return self.measured <= self.bar
        return self.measured >= self.bar


@dataclass(frozen=True, slots=True)
class Report:
    """All of one area's run. `timings` by size or situation, then by contestant."""

    area: str
    workload: Mapping[str, Any]
    timings: Mapping[str, Mapping[str, Timing]]
    lines: Sequence[Line] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)  # what is no timing: bytes, rates
    notes: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "area": self.area,
            "workload": dict(self.workload),
            "timings": {
                group: {name: _fields(timing) for name, timing in timings.items()}
                for group, timings in self.timings.items()
            },
            "lines": [_fields(line) | {"met": line.met} for line in self.lines],
            "figures": dict(self.figures),
            "notes": list(self.notes),
            **conditions(),
        }

    def as_text(self) -> str:
        lines = [f"{self.area}: " + ", ".join(f"{k} {v}" for k, v in self.workload.items())]
        for group, timings in self.timings.items():
            lines.append(f"{group:32}{'median':>12}{'p99':>12}{'min':>12}{'iqr':>10}{'n':>6}")
            lines += [_row(name, timing) for name, timing in timings.items()]
        lines += [f"{name}: {value}" for name, value in self.figures.items()]
        lines += [_judged(line) for line in self.lines]
        lines += list(self.notes)
        where = conditions()
        lines.append(
            f"{where['date']}, {where['machine']['cpu']}, {where['machine']['cores']} cores, load "
            f"{where['machine']['load_1_minute']:.1f}, Python {where['versions']['python']}, "
            f"commit {where['commit'] or 'unknown'}"
        )
        return "\n".join(lines)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times the median of `fast` goes into that of `slow`."""
    return statistics.median(slow) / statistics.median(fast)


def conditions() -> dict[str, Any]:
    """Date, machine, versions and commit: what a figure is worth nothing without."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cpu": cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "load_1_minute": os.getloadavg()[0],
        },
        "versions": {"python": platform.python_version()} | _installed(),
        "commit": commit(),
    }


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def commit() -> str:
    """Short hash, with + where tracked files differ from it; "" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _installed() -> dict[str, str]:
    versions: dict[str, str] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that this benchmark does without
    return versions


def _fields(of: Timing | Line) -> dict[str, Any]:
    return {name: getattr(of, name) for name in of.__slots__}


def _row(name: str, timing: Timing) -> str:
    cells = (timing.median, timing.p99, timing.minimum)
    figures = "".join(f"{value:9.3f} {timing.unit:2}" for value in cells)
    return f"  {name:30}{figures}{timing.iqr:10.3f}{timing.n:6}"


def _judged(line: Line) -> str:
    verdict = "held" if line.met else "NOT held"
    unit = "" if line.unit == "x" else f" {line.unit}"
    return f"{line.what}: {line.measured:.3g}{unit} ({line.bound} {line.bar:g}{unit}): {verdict}"
