"""The load must count what a waiting user waits, and the cost what the processes spent."""

from __future__ import annotations

import argparse
import asyncio
import os
import time

import pytest

from benchmarks.whole import EVENT_LOOP, REST, _knee, _steps, add_arguments, measure
from benchmarks.whole.allocations import stage_kilobytes
from benchmarks.whole.costs import Costs, processor_seconds
from benchmarks.whole.load import Questions, ask_at_rate, ask_one_by_one
from home_mixer.client import Feed, FeedError, scored_posts_query

PAUSE_S = 0.05


def options(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    add_arguments(parser)
    return parser.parse_args(["--quick", *arguments])


class OneAtATime:
    """A server that takes `PAUSE_S` for an answer and gives one at a time."""

    def __init__(self, reasons=()):
        self._turn = asyncio.Lock()
        self._reasons = tuple(reasons)

    async def send(self, query):
        async with self._turn:
            await asyncio.sleep(PAUSE_S)
        return Feed(("a post",), "1", "hash", "model", self._reasons)


class Refusing:
    async def send(self, query):
        raise FeedError("RESOURCE_EXHAUSTED", "too many")


def questions():
    return Questions([scored_posts_query(7)])


async def test_waiting_in_line_counts():
    """A load that waits for answers before it asks would hide every queue."""
    asked = await ask_at_rate(OneAtATime(), questions(), per_s=100.0, seconds=0.1)
    assert len(asked) == 10
    assert asked[-1].seconds > 5 * PAUSE_S  # it was due before most others were answered


async def test_a_degraded_or_refused_feed_is_no_answer():
    (degraded,) = await ask_one_by_one(OneAtATime(["stale"]), questions(), 1)
    (refused,) = await ask_one_by_one(Refusing(), questions(), 1)
    assert (degraded.problem, refused.problem) == ("stale", "RESOURCE_EXHAUSTED")


async def test_what_a_process_spends_is_counted_and_what_it_spends_idle_is_not():
    async def work():
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass

    me = {"me": os.getpid()}
    assert sum(processor_seconds(me).values()) > 0
    busy = await Costs.over(me, work())
    idle = await Costs.over(me, asyncio.sleep(0.05))
    assert sum(busy.per_feed_ms(1, idle).values()) >= 200
    assert sum(busy.per_feed_ms(1, busy).values()) == 0


def test_steps_are_stages_and_threads_and_what_is_left_of_the_event_loop():
    """The same milliseconds twice, or not at all, would name the wrong cause."""
    threads = {EVENT_LOOP: 10.0, "phoenix: message threads": 3.0}
    steps = _steps(threads, {"Source": 1.0, "Filter": 4.0})
    assert list(steps.items()) == [
        (REST, 5.0),
        ("home-mixer: Filter", 4.0),
        ("phoenix: message threads", 3.0),
        ("home-mixer: Source", 1.0),
    ]
    assert sum(steps.values()) == sum(threads.values())


def test_the_knee_is_the_last_rate_in_time():
    rows = [
        {"offered_per_s": 1.0, "p50_ms": 10.0, "answered_whole_share": 1.0},
        {"offered_per_s": 2.0, "p50_ms": 15.0, "answered_whole_share": 1.0},
        {"offered_per_s": 4.0, "p50_ms": 12.0, "answered_whole_share": 0.5},
        {"offered_per_s": 8.0, "p50_ms": 12.0, "answered_whole_share": 1.0},
    ]
    assert _knee(rows) == 2.0


@pytest.mark.e2e
def test_the_real_processes_answer_whole_feeds_under_load():
    report = measure(options("--rates", "2", "--seconds", "1", "--feeds", "3"))
    (row,) = report.figures["load"]
    assert row["answered_whole_share"] == 1.0
    assert {name.split(":")[0] for name in report.figures["milliseconds"]} == {
        "thunder", "phoenix", "ingester", "home-mixer",
    }  # fmt: skip
    kinds = {name.split(": ")[1] for name in report.figures["milliseconds"]}
    assert {"event loop", "store threads", "model's thread", "search threads"} <= kinds
    assert "Hydrator" in report.figures["home-mixer's event loop by stage, CPU-ms"]


def test_memory_is_said_by_stage():
    """A stage that copies the whole table must show as the one that holds most."""
    memory = stage_kilobytes(600)
    most, left = memory["most held"], memory["left behind"]
    assert most.keys() == left.keys() >= {"Source", "Hydrator", "Filter", "Scorer", "Selector"}
    assert most["Hydrator"] > 100
    assert all(most[stage] >= left[stage] for stage in most)


def test_rates_that_cannot_be_offered_are_refused():
    with pytest.raises(ValueError, match="must be positive"):
        measure(options("--rates", "0"))
