"""thunder's store at its limit: queries beside their peers and their floor, alone and while posts
come, memory by resident size, and the rates of writing.
"""

from __future__ import annotations

import argparse
import gc
from typing import Final

import numpy as np

from benchmarks.harness import Report, sized
from benchmarks.store.alone import measure_alone
from benchmarks.store.memory import churn, fill
from benchmarks.store.mixed import measure_mixed, posts_needed
from benchmarks.store.peers import JUDGED, RESULTS, Measured, compare
from benchmarks.store.workload import NOW_MS, make_requests, make_world, posts_by_followed
from service_kit.clock import ManualClock

POSTS, POSTS_QUICK = 10_000_000, 20_000
POSTS_PER_AUTHOR: Final = 10
FOLLOWS, FOLLOWS_QUICK = (100, 1_000, 5_000), (50, 400)
REQUESTS, REQUESTS_QUICK = 128, 12
VIEWERS, VIEWERS_QUICK = 512, 24  # of the store alone
REPEATS, REPEATS_QUICK = 512, 12
MIXED_SECONDS, MIXED_SECONDS_QUICK = 24.0, 0.5
STRETCHES, STRETCHES_QUICK = 4, 1
HOURS, HOURS_QUICK = 1.0, 0.002
PARTS: Final = ("alone", "peers", "mixed", "hours")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes, repeats, and which of the parts."""
    parser.add_argument("--posts", type=int, help=f"posts in the store; default {POSTS}")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--hours", type=float, help="of insert and trim, in event time; default 1")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="default: all")
    parser.add_argument("--seed", type=int, default=1)


def measure(options: argparse.Namespace) -> Report:
    """AssertionError when answers differ; ValueError for numbers that cannot be measured."""
    quick = options.quick
    count = sized(options, "posts", POSTS, POSTS_QUICK)
    if count < 10_000:
        raise ValueError(f"--posts is {count}: at least 10000 are expected, for the requests")
    extra = posts_needed(MIXED_SECONDS_QUICK if quick else MIXED_SECONDS)
    rng = np.random.default_rng(options.seed)
    world = make_world(count, count // POSTS_PER_AUTHOR, rng, extra)
    measured = Measured()
    follows = FOLLOWS_QUICK if quick else FOLLOWS
    asked = REQUESTS_QUICK if quick else REQUESTS
    requests = {n: make_requests(world, n, asked, rng) for n in follows}
    judged_follows = JUDGED if JUDGED in follows else follows[-1]
    judged = requests[judged_follows]
    clock = ManualClock(NOW_MS)
    store = fill(world, count, clock, measured, posts_max=int(1.3 * count) + extra)
    gc.freeze()  # what stands is not looked at again by the collections between turns
    if "alone" in options.only:
        viewers = VIEWERS_QUICK if quick else VIEWERS
        measure_alone(store, make_requests(world, judged_follows, viewers, rng), measured)
    if "peers" in options.only:
        repeats = sized(options, "repeats", REPEATS, REPEATS_QUICK)
        compare(store, world.at_start(), requests, repeats, measured)
    if "mixed" in options.only:
        stretches = STRETCHES_QUICK if quick else STRETCHES
        measure_mixed(store, clock, world, judged, stretches, measured)
    gc.unfreeze()
    del store
    if "hours" in options.only:
        hours = sized(options, "hours", HOURS, HOURS_QUICK)
        churn(world.at_start(), hours, measured)
    workload = {
        "posts": count,
        "authors": count // POSTS_PER_AUTHOR,
        "posts an author followed": round(posts_by_followed(world, judged), 1),
        "excluded": int(judged[0].excluded_ids.size),
        "results": RESULTS,
        "requests": asked,
        "seed": options.seed,
    }
    return Report(
        "store", workload, measured.timings, measured.lines, measured.figures, measured.notes
    )
