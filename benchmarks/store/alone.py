"""The store alone, asked by one viewer after another: what a query takes on a machine where nobody
else works.

In turns with peers it does not show: each peer's work, and the collection between two turns, take
the store's lines out of the caches, which no server does to itself.
"""

from __future__ import annotations

import time
from typing import Final

from benchmarks.harness import Line, Timing
from benchmarks.store.peers import OURS, Measured, query_of
from benchmarks.store.workload import Request
from thunder.store import PostStore

P99_BAR_MS: Final = 1.0
ROUNDS: Final = 8  # over the viewers, whose posts together are more than caches hold


def measure_alone(store: PostStore, requests: list[Request], measured: Measured) -> None:
    """The first round is not counted. Objects that stand are out of the collector's sight, as in
    the server."""
    seconds: list[float] = []
    for number in range(ROUNDS + 1):
        for request in requests:
            query = query_of(request)
            started = time.perf_counter()
            store.query(query)
            if number > 0:
                seconds.append(time.perf_counter() - started)
    follows = f"{requests[0].following_ids.size:,} follows"
    timing = Timing.of(seconds)
    measured.timings.setdefault(f"{follows}, alone", {})[OURS] = timing
    what = f"store, {follows}: p99, alone, {len(requests)} viewers"
    measured.lines.append(Line(what, timing.p99, P99_BAR_MS, "at most", "ms"))
