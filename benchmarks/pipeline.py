"""Columns against objects: the feed's components both ways, on one request, in one run.

Three contestants take turns: the columnar pipeline; one object a candidate in the original's shape,
which clones the list before each filter; and the same with a single clone. Before anything is
timed all must give the same feed, ids and scores. Such turns find the caches of the processor cold,
as a server does that has little to do; what the columnar pipeline takes when feeds follow one
another is measured beside them. In-memory clients, no wire, no side effects. The
request names its seen posts as ids; with `--bloom` a third of them come in a Bloom filter, whose
hashing (about a microsecond a key, in C) costs both sides the same and so lowers the ratio.

Beside them the framework alone: twenty components that do next to nothing
(`benchmarks.pipeline_framework`).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import pipeline_framework
from benchmarks.columnar_pipeline import columnar_pipeline
from benchmarks.feed_world import FeedWorld, make_world
from benchmarks.harness import WARM_UP_TURNS, Line, Report, Timing, ratio, sized, take_turns
from benchmarks.object_pipeline import object_pipeline

CANDIDATES_MOST = 2_800  # the most that the original's ranker takes in one request
CANDIDATES = (1_500, CANDIDATES_MOST)
CANDIDATES_QUICK = 700
REPEATS, REPEATS_QUICK = 40, 3
FRAMEWORK_CANDIDATES = 1_500
FRAMEWORK_RUNS_A_TURN = 10  # one alone is too short beside its clock
RUNS_IN_A_ROW = 5
RATIO_BAR = 10.0
MILLISECONDS_BAR = 1.5
SCORE_TOLERANCE = 1e-12  # relative; the order of float64 additions is the same in both

Feed = list[tuple[int, float]]
Contestant = Callable[[], Coroutine[Any, Any, Feed]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes, repeats, and whether the request brings a Bloom filter."""
    parser.add_argument("--candidates", type=int, nargs="+", help="sizes; default 1500 and 2800")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--bloom", action="store_true", help="with a Bloom filter")
    parser.add_argument("--seed", type=int, default=1)


def measure(options: argparse.Namespace) -> Report:
    """AssertionError when the feeds differ; ValueError for numbers that cannot be measured."""
    sizes = options.candidates or ([CANDIDATES_QUICK] if options.quick else list(CANDIDATES))
    repeats = sized(options, "repeats", REPEATS, REPEATS_QUICK)
    found = _Found()
    with asyncio.Runner() as runner:
        for size in sizes:
            world = make_world(size, options.seed, has_bloom_filter=options.bloom)
            _measure_size(runner.get_loop(), world, size, repeats, found)
        _measure_framework(runner.get_loop(), repeats, found)
    workload = {"candidates": sizes, "bloom": options.bloom, "seed": options.seed}
    return Report("pipeline", workload, found.timings, found.lines, found.figures)


@dataclass(frozen=True)
class _Found:
    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


def _measure_size(
    loop: asyncio.AbstractEventLoop, world: FeedWorld, size: int, repeats: int, found: _Found
) -> None:
    contestants = _contestants(world)
    feeds = {name: loop.run_until_complete(run()) for name, run in contestants.items()}
    check_same_feed(feeds)
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    timed = {
        name: _with_processor_time(loop, contestant, spent[name])
        for name, contestant in contestants.items()
    }
    wall = take_turns(timed, repeats)
    processor = {name: values[WARM_UP_TURNS:] for name, values in spent.items()}
    group = f"{size:,} candidates"
    found.timings[group] = {name: Timing.of(values) for name, values in wall.items()}
    in_a_row = [seconds for _ in range(repeats) for seconds in _in_a_row(timed["columns"])]
    found.timings[f"{group}, in a row"] = {"columns": Timing.of(in_a_row)}
    found.figures[group] = {"feed": len(feeds["columns"])} | {
        f"{name} / columns": {
            "wall": ratio(wall[name], wall["columns"]),
            "processor": ratio(processor[name], processor["columns"]),
        }
        for name in ("objects", "objects, one clone")
    }
    if size == CANDIDATES_MOST:
        found.lines.extend(_lines(group, wall))


def _in_a_row(contestant: Callable[[], None]) -> list[float]:
    """Seconds of each of some runs that follow one another."""
    clock = [time.perf_counter()]
    for _ in range(RUNS_IN_A_ROW):
        contestant()
        clock.append(time.perf_counter())
    return list(np.diff(clock))


def _lines(group: str, seconds: dict[str, list[float]]) -> list[Line]:
    slower = ratio(seconds["objects"], seconds["columns"])
    median_ms = Timing.of(seconds["columns"]).median
    return [
        Line(f"pipeline, {group}: object pipeline / columns", slower, RATIO_BAR, "at least"),
        Line(f"pipeline, {group}: one request", median_ms, MILLISECONDS_BAR, "at most", "ms"),
    ]


def _with_processor_time(
    loop: asyncio.AbstractEventLoop, contestant: Contestant, spent_s: list[float]
) -> Callable[[], None]:
    def run() -> None:
        started = time.process_time()
        loop.run_until_complete(contestant())
        spent_s.append(time.process_time() - started)

    return run


def _measure_framework(loop: asyncio.AbstractEventLoop, repeats: int, found: _Found) -> None:
    machine = pipeline_framework.pipeline(FRAMEWORK_CANDIDATES)
    query = pipeline_framework.Ask("bench")

    async def many() -> None:
        for _ in range(FRAMEWORK_RUNS_A_TURN):
            await machine.execute(query)

    seconds = take_turns({"framework": lambda: loop.run_until_complete(many())}, repeats)
    one = [value / FRAMEWORK_RUNS_A_TURN for value in seconds["framework"]]
    found.timings[f"framework alone, {FRAMEWORK_CANDIDATES:,}"] = {"20 components": Timing.of(one)}


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

    return {"columns": by_columns, "objects": by_objects, "objects, one clone": by_objects_once}


def check_same_feed(feeds: dict[str, Feed]) -> None:
    """AssertionError unless all have the columnar feed's ids, in order, and its scores."""
    expected = feeds["columns"]
    assert expected, "the columnar feed is empty: nothing to compare"
    for name, feed in feeds.items():
        ids, wanted = [one for one, _ in feed], [one for one, _ in expected]
        assert ids == wanted, f"{name} serves other posts than columns: {ids} for {wanted}"
        scores, reference = _scores(feed), _scores(expected)
        assert np.allclose(scores, reference, rtol=SCORE_TOLERANCE, atol=0.0), (
            f"{name} scores differently: {scores - reference}"
        )


def _scores(feed: Sequence[tuple[int, float]]) -> Any:
    return np.array([score for _, score in feed])
