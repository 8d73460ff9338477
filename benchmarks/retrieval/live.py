"""Searches while posts come and go at a steady rate, as the follower of the topic brings them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.retrieval.workload import World
from phoenix.index.exact import ExactIndex

AT_ONCE = 100  # posts of an insert: a poll's worth
FIRST_NEW_ID = 1 << 40  # behind every id of the world


@dataclass(slots=True)
class Times:
    """Seconds of every search, and of every insert and removal of `AT_ONCE` posts beside it."""

    searches: list[float] = field(default_factory=list)
    inserts: list[float] = field(default_factory=list)


def while_changing(
    index: ExactIndex, world: World, k: int, searches: int, *, inserts_per_second: int
) -> tuple[list[float], Times]:
    """Seconds of searches without changes, and with; in eight turns of each."""
    quiet, times = [], Times()
    for turn in range(8):
        part = range(turn * searches // 8, (turn + 1) * searches // 8)
        quiet += [_search(index, world, k, at) for at in part]
        stop = threading.Event()
        writer = threading.Thread(
            target=_write, args=(index, world, inserts_per_second, stop, times.inserts, turn)
        )
        writer.start()
        try:
            times.searches += [_search(index, world, k, at) for at in part]
        finally:
            stop.set()
            writer.join()
    return quiet, times


def _search(index: ExactIndex, world: World, k: int, at: int) -> float:
    started = time.perf_counter()
    index.search(world.queries[at % len(world.queries)], k)
    return time.perf_counter() - started


def _write(
    index: ExactIndex,
    world: World,
    per_second: int,
    stop: threading.Event,
    seconds: list[float],
    turn: int,
) -> None:
    """Inserts and removes until told to stop; at the end only the world's own posts are left."""
    first = FIRST_NEW_ID + (turn << 32)
    due = time.monotonic()
    while True:
        ids = np.arange(first, first + AT_ONCE, dtype=np.uint64)
        started = time.perf_counter()
        index.upsert(ids, ids, np.zeros(AT_ONCE, np.int64), world.vectors[:AT_ONCE])
        index.remove(range(first - AT_ONCE, first))
        seconds.append(time.perf_counter() - started)
        first += AT_ONCE
        due += AT_ONCE / per_second
        if stop.wait(max(0.0, due - time.monotonic())):
            break
    index.remove(range(first - AT_ONCE, first))
