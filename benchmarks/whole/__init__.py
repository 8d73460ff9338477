"""The whole suite under open-loop load: latency against rate, and where a feed's time goes.

The three services and the ingester as own processes, the demo's world, and a mid-size ranker and
retrieval (width 256, 4 layers, history 128) with random weights: speed does not ask what they
learned. Feeds are asked first one at a time, for the processor's time of one feed by process and
kind of thread, then at fixed rates. A latency counts from the moment at which the feed was due, so
that waiting in line counts too. A feed with a degraded reason counts as failed.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Line, Report, Timing, sized
from benchmarks.whole.allocations import stage_kilobytes
from benchmarks.whole.costs import MODEL, SEARCH, XLA, Costs
from benchmarks.whole.load import Asked, ask_at_rate, ask_one_by_one
from benchmarks.whole.suite import Sizes, Suite, running_suite
from home_mixer.client import AsyncHomeMixerClient

RATES_PER_S = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0)
RATES_QUICK_PER_S = (2.0, 8.0)
CPU_SECONDS_BAR, SHARE_BAR = 0.15, 0.10
KNEE = 2.0  # at the last rate whose p50 is within twice the first's, and 99 % of feeds are whole
WHOLE_SHARE_MIN = 0.99
TIMEOUT_S = 2.0
WARM_UP_FEEDS = 10
EVENT_LOOP = "home-mixer: event loop"
REST = "home-mixer: gRPC's server, the answer, side effects, metrics"
# Mathematics of the model: products of the ranker and the towers, with the cast of their inputs and
# results, and the scan of the index with its exact scores.
MODEL_THREADS = tuple(f"phoenix: {kind}" for kind in (XLA, MODEL, SEARCH))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Rates, and how long each is held."""
    parser.add_argument("--rates", type=float, nargs="+", help="feeds offered a second")
    parser.add_argument("--seconds", type=float, help="how long each rate is held")
    parser.add_argument("--feeds", type=int, help="asked one at a time")
    parser.add_argument("--data-dir", type=Path, help="keeps world, models and logs of services")


def measure(options: argparse.Namespace) -> Report:
    """ValueError for rates and times that cannot be measured."""
    rates = options.rates or (RATES_QUICK_PER_S if options.quick else RATES_PER_S)
    seconds = sized(options, "seconds", 8.0, 1.5)
    feeds = sized(options, "feeds", 60, 5)
    if min(rates) <= 0 or seconds <= 0 or feeds < 2:
        raise ValueError(f"rates {rates}, seconds {seconds} and feeds {feeds} must be positive")
    sizes = Sizes.quick() if options.quick else Sizes()
    with tempfile.TemporaryDirectory(prefix="foryou-bench-") as temporary:
        directory = options.data_dir or Path(temporary)
        report = asyncio.run(_measure(directory.absolute(), sizes, rates, seconds, feeds))
    memory = {"home-mixer's memory by stage, kB": stage_kilobytes()}
    return replace(report, figures={**report.figures, **memory})


async def _measure(
    directory: Path, sizes: Sizes, rates: Sequence[float], seconds: float, feeds: int
) -> Report:
    async with (
        running_suite(directory, sizes) as suite,
        AsyncHomeMixerClient(suite.address, timeout_s=TIMEOUT_S) as client,
    ):
        await ask_one_by_one(client, suite.questions, WARM_UP_FEEDS)
        idle = await Costs.over(suite.processes, asyncio.sleep(min(seconds, 3.0)))
        alone: list[Asked] = []
        busy = await Costs.over(
            suite.processes, _collect(client, suite, feeds, alone), metrics=suite.metrics
        )
        offered = [
            (rate, await ask_at_rate(client, suite.questions, rate, seconds)) for rate in rates
        ]
    _check_whole(alone)
    milliseconds = busy.per_feed_ms(feeds, idle)
    total_s = sum(milliseconds.values()) / 1e3
    other = {name: ms for name, ms in milliseconds.items() if name not in MODEL_THREADS}
    largest = max(other, key=lambda name: other[name])
    steps = _steps(other, busy.stages_ms(feeds))
    largest_step = max(steps, key=lambda name: steps[name])
    figures: dict[str, Any] = {
        "load": [_row(rate, asked) for rate, asked in offered],
        "milliseconds": milliseconds,
        "home-mixer's event loop by stage, CPU-ms": busy.stages_ms(feeds),
        "components, wall ms": busy.components_ms(feeds),
        "candidates of a feed": suite.candidates,
        "steps that are no model mathematics, CPU-ms": steps,
    }
    figures["knee"] = _knee(figures["load"])
    return Report(
        "whole",
        sizes.as_workload(),
        {"one at a time": {"feed": Timing.of([one.seconds for one in alone])}}
        | {f"{rate:g} offered a second": _timing(asked) for rate, asked in offered},
        [
            Line("one feed, all processes, processor's time", total_s, CPU_SECONDS_BAR, "at most",
                 "s"),
            Line(f"largest share that is no model mathematics ({largest})",
                 other[largest] / 1e3 / total_s, SHARE_BAR, "at most"),
        ],
        figures,
        [
            "The load's own process is not among the milliseconds; it runs on the same cores.",
            "Stages of the event loop are what lies between a stage's begin and end; the rest is"
            " the gRPC server, the answer's message, side effects, metrics and logs.",
            f"Largest stage that is no model mathematics: {largest_step},"
            f" {100 * steps[largest_step] / 1e3 / total_s:.1f} % of a feed.",
            "Memory: a feed of 2,200 candidates on in-memory clients, traced by tracemalloc.",
        ],
    )  # fmt: skip


async def _collect(
    client: AsyncHomeMixerClient, suite: Suite, feeds: int, into: list[Asked]
) -> None:
    into += await ask_one_by_one(client, suite.questions, feeds)


def _check_whole(asked: Sequence[Asked]) -> None:
    """AssertionError: what a degraded feed costs is not what a feed costs."""
    bad = {one.problem for one in asked if one.problem}
    assert not bad, f"feeds asked one at a time were not whole: {sorted(bad)[:3]}"


def _steps(threads_ms: Mapping[str, float], stages_ms: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds by cause, largest first: kinds of threads, but home_mixer's event loop in its
    stages, and in what is left of it."""
    steps = {name: ms for name, ms in threads_ms.items() if name != EVENT_LOOP}
    steps |= {f"home-mixer: {stage}": ms for stage, ms in stages_ms.items()}
    steps[REST] = max(0.0, threads_ms.get(EVENT_LOOP, 0.0) - sum(stages_ms.values()))
    return dict(sorted(steps.items(), key=lambda one: -one[1]))


def _timing(asked: Sequence[Asked]) -> dict[str, Timing]:
    whole = [one.seconds for one in asked if not one.problem]
    return {"feed": Timing.of(whole)} if whole else {}


def _row(rate: float, asked: Sequence[Asked]) -> dict[str, float]:
    """Latencies of all feeds, failed ones too: they took the time that they took."""
    milliseconds = np.array([one.seconds for one in asked]) * 1e3
    whole = sum(not one.problem for one in asked)
    return {
        "offered_per_s": rate,
        "answered_whole_share": whole / len(asked),
        "p50_ms": float(np.quantile(milliseconds, 0.5)),
        "p99_ms": float(np.quantile(milliseconds, 0.99)),
        "n": len(asked),
    }


def _knee(rows: Sequence[Mapping[str, float]]) -> float:
    """The highest rate, before the first that is not, which is answered whole and in time."""
    knee = 0.0
    for row in rows:
        slow = row["p50_ms"] > KNEE * rows[0]["p50_ms"]
        if slow or row["answered_whole_share"] < WHOLE_SHARE_MIN:
            break
        knee = row["offered_per_s"]
    return knee
