"""Columns against objects: the feed's components both ways, on one request, in one run.

    python -m benchmarks.pipeline [--candidates N] [--repeats N] [--bloom] [--json]

Three contestants take turns, so that a drifting machine drifts under all of them: the columnar
pipeline; one object a candidate in the original's shape, which clones the list before each filter;
and the same with a single clone. Before anything is timed all must give the same feed, ids and
scores. In-memory clients, no wire, no side effects. Medians of `repeats` runs each. The request
names its seen posts as ids; with `--bloom` a third of them come in a Bloom filter, whose hashing
(about a microsecond a key, in C) costs both sides the same and so lowers the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import gc
import json as json_module
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.columnar_pipeline import columnar_pipeline
from benchmarks.feed_world import FeedWorld, make_world
from benchmarks.object_pipeline import object_pipeline

CANDIDATES = 2_800  # the most that the original's ranker takes in one request
REPEATS = 40
WARM_UP_RUNS = 3
RATIO_GOAL = 8.0  # prototypes reached 10 to 25
SCORE_TOLERANCE = 1e-12  # relative; the order of float64 additions is the same in both

Feed = list[tuple[int, float]]
Contestant = Callable[[], Awaitable[Feed]]


def run(
    candidates: int = CANDIDATES,
    repeats: int = REPEATS,
    json: bool = False,
    *,
    bloom: bool = False,
    seed: int = 1,
) -> dict[str, Any]:
    """Measures, prints a table or one JSON object, and returns what it printed.

    AssertionError when the feeds differ; ValueError for numbers that cannot be measured.
    """
    if repeats < 2:
        raise ValueError(f"repeats is {repeats}; at least 2 are expected, for a median and spread")
    world = make_world(candidates, seed, has_bloom_filter=bloom)
    asked = {"candidates": candidates, "repeats": repeats, "bloom": bloom, "seed": seed}
    report = {**asked, **asyncio.run(_measure(world, repeats)), **_machine()}
    print(json_module.dumps(report) if json else _table(report), flush=True)
    return report


async def _measure(world: FeedWorld, repeats: int) -> dict[str, Any]:
    contestants = _contestants(world)
    feeds = {name: await contestant() for name, contestant in contestants.items()}
    check_same_feed(feeds)
    times = await _take_turns(contestants, repeats)
    wall = {name: statistics.median(rows[0]) for name, rows in times.items()}
    cpu = {name: statistics.median(rows[1]) for name, rows in times.items()}
    return {
        "feed_size": len(feeds["columnar"]),
        "milliseconds": {name: _spread(rows) for name, rows in times.items()},
        "ratio": wall["objects"] / wall["columnar"],
        "ratio_one_clone": wall["objects_one_clone"] / wall["columnar"],
        "ratio_cpu": cpu["objects"] / cpu["columnar"],
        "ratio_one_clone_cpu": cpu["objects_one_clone"] / cpu["columnar"],
        "ratio_goal": RATIO_GOAL,
    }


def _contestants(world: FeedWorld) -> dict[str, Contestant]:
    columnar = columnar_pipeline(world)
    objects, one_clone = object_pipeline(world), object_pipeline(world, clones_once=True)

    async def by_columns() -> Feed:
        result = await columnar.execute(world.query)
        assert not result.degraded_reasons, result.degraded_reasons
        feed = result.selected
        return list(zip(feed["post_id"].tolist(), feed["score"].tolist(), strict=True))

    async def by_objects() -> Feed:
        feed, _ = await objects.execute(world.query)
        return [(one.post_id, one.score or 0.0) for one in feed]

    async def by_objects_once() -> Feed:
        feed, _ = await one_clone.execute(world.query)
        return [(one.post_id, one.score or 0.0) for one in feed]

    return {"columnar": by_columns, "objects": by_objects, "objects_one_clone": by_objects_once}


def check_same_feed(feeds: dict[str, Feed]) -> None:
    """AssertionError unless all have the columnar feed's ids, in order, and its scores."""
    expected = feeds["columnar"]
    assert expected, "the columnar feed is empty: nothing to compare"
    for name, feed in feeds.items():
        ids, wanted = [one for one, _ in feed], [one for one, _ in expected]
        assert ids == wanted, f"{name} serves other posts than columnar: {ids} for {wanted}"
        scores = np.array([score for _, score in feed])
        reference = np.array([score for _, score in expected])
        assert np.allclose(scores, reference, rtol=SCORE_TOLERANCE, atol=0.0), (
            f"{name} scores differently: {scores - reference}"
        )


async def _take_turns(
    contestants: dict[str, Contestant], repeats: int
) -> dict[str, tuple[list[float], list[float]]]:
    """name → wall and processor milliseconds of each run."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contestants}
    for turn in range(WARM_UP_RUNS + repeats):
        for name, contestant in contestants.items():
            gc.collect()  # one's garbage must not be collected on another's time
            wall, cpu = time.perf_counter(), time.process_time()
            await contestant()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn >= WARM_UP_RUNS:
                times[name][0].append(wall * 1e3)
                times[name][1].append(cpu * 1e3)
    return times


def _spread(rows: tuple[list[float], list[float]]) -> dict[str, float]:
    wall, cpu = rows
    return {
        "median": statistics.median(wall),
        "p99": float(np.quantile(wall, 0.99)),
        "min": min(wall),
        "cpu_median": statistics.median(cpu),
    }


def _machine() -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "load_1_minute": os.getloadavg()[0],
        },
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "commit": _commit(),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _commit() -> str:
    """Short hash, with + where tracked files differ from it; "" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _table(report: dict[str, Any]) -> str:
    machine = report["machine"]
    lines = [
        f"{report['candidates']} candidates, feed of {report['feed_size']}, the same both ways;"
        f" {report['repeats']} interleaved runs each",
        f"{'':20}{'median ms':>12}{'p99 ms':>10}{'min ms':>10}{'cpu ms':>10}",
    ]
    for name, row in report["milliseconds"].items():
        cells = (
            f"{row['median']:12.2f}{row['p99']:10.2f}{row['min']:10.2f}{row['cpu_median']:10.2f}"
        )
        lines.append(f"{name:20}{cells}")
    lines += [
        f"objects / columnar: {report['ratio']:.1f} (goal {report['ratio_goal']:.0f}),"
        f" processor time {report['ratio_cpu']:.1f};"
        f" with one clone {report['ratio_one_clone']:.1f},"
        f" processor time {report['ratio_one_clone_cpu']:.1f}",
        f"{report['date']}, {machine['cpu']}, {machine['cores']} cores, load"
        f" {machine['load_1_minute']:.1f}, Python {report['versions']['python']}, numpy"
        f" {report['versions']['numpy']}, commit {report['commit'] or 'unknown'}",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line; `foryou bench pipeline` calls `run` itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--bloom", action="store_true", help="with a Bloom filter")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        run(options.candidates, options.repeats, options.json, bloom=options.bloom)
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
