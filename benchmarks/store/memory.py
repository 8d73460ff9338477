"""Bytes a post by resident memory, rates of writing, and whether memory stays flat over hours.

For hours of insert and trim a store of a short retention is driven by event time: at 20,000 posts
a second a retention of 500 seconds holds ten million.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Line
from benchmarks.store.peers import Measured
from benchmarks.store.workload import NOW_MS, World
from service_kit.clock import ManualClock
from thunder.store import PostStore
from thunder.warm_up import warm_up

BYTES_BAR: Final = 135.0
GROWTH_BAR: Final = 1.02  # over the hours, once trimming has begun
BATCH_POSTS: Final = 1_000
POSTS_PER_SECOND: Final = 20_000  # of event time
TRIM_SECONDS: Final = 120  # of event time, as the product's default
ROOM: Final = 1.4  # posts_max over the posts of one retention: what comes between two trims


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def fill(
    world: World, count: int, clock: ManualClock, measured: Measured, posts_max: int
) -> PostStore:
    """A store with the first ``count`` posts, its deletes applied."""
    warm_up(clock)
    settle()
    before = resident_bytes()
    store = PostStore(clock, posts_max=posts_max)
    started = time.perf_counter()
    for begin in range(0, count, BATCH_POSTS):
        end = min(count, begin + BATCH_POSTS)
        store.insert(world.posts[begin:end], world.flags[begin:end])
    insert_s = time.perf_counter() - started
    dead = world.dead[world.dead < count]
    ids = np.ascontiguousarray(world.posts["post_id"][dead])
    np.random.default_rng(0).shuffle(ids)
    statuses = (ids, np.full(ids.size, NOW_MS - 1), np.ones(ids.size, np.uint8))
    started = time.perf_counter()
    store.apply_statuses(statuses)
    delete_s = time.perf_counter() - started
    settle()
    each = (resident_bytes() - before) / count
    measured.figures["inserted, million a second"] = round(count / insert_s / 1e6, 2)
    measured.figures["deleted, nanoseconds a post"] = round(delete_s / max(1, ids.size) * 1e9)
    measured.figures["bytes a post by resident memory"] = round(each, 1)
    measured.lines.append(
        Line(f"store, {count:,} posts: memory", each, BYTES_BAR, "at most", "bytes a post")
    )
    return store


def churn(world: World, hours: float, measured: Measured) -> None:
    """Inserts and trims for hours of event time, and watches resident memory."""
    retention_s = world.posts.size // POSTS_PER_SECOND
    clock = ManualClock(NOW_MS)
    posts_max = int(ROOM * world.posts.size)
    store = PostStore(clock, posts_max=posts_max, retention_ms=retention_s * 1000)
    settle()
    sizes: list[float] = []
    trimmed, trim_s, insert_s = 0, 0.0, 0.0
    trim_every = max(1, round(min(TRIM_SECONDS, retention_s / 4) * POSTS_PER_SECOND / BATCH_POSTS))
    batches = int(hours * 3_600 * POSTS_PER_SECOND / BATCH_POSTS)
    filled = 2 * world.posts.size // BATCH_POSTS  # the store is full, and has been trimmed
    for number, (posts, flags) in enumerate(_endless(world, filled + batches)):
        clock.advance_ms(BATCH_POSTS * 1000 // POSTS_PER_SECOND)
        started = time.perf_counter()
        store.insert(posts, flags)
        insert_s += time.perf_counter() - started
        if number % trim_every == 0:
            started = time.perf_counter()
            trimmed += store.trim()
            trim_s += time.perf_counter() - started
            if number >= filled:
                sizes.append(resident_bytes())
    growth = max(sizes) / sizes[0]
    measured.figures["trimmed, nanoseconds a post"] = round(trim_s / max(1, trimmed) * 1e9)
    inserted = (filled + batches) * BATCH_POSTS
    measured.figures["inserted while trimmed, million a second"] = round(
        inserted / insert_s / 1e6, 2
    )
    measured.figures["evicted over the hours"] = store.evicted_posts
    what = f"store, {hours:g} hours of insert and trim: resident memory over that at their start"
    measured.lines.append(Line(what, growth, GROWTH_BAR, "at most"))


def settle() -> None:
    """Garbage collected, and free memory given back, so that resident memory is what is held."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _endless(world: World, batches: int) -> Iterator[tuple[NDArray[np.void], NDArray[np.uint8]]]:
    """The world's posts over and over, with new ids and times."""
    size = world.posts.size // BATCH_POSTS
    for number in range(batches):
        begin = number % size * BATCH_POSTS
        posts = world.posts[begin : begin + BATCH_POSTS].copy()
        again = np.uint64(number // size + 1)
        for name in ("post_id", "in_reply_to_post_id", "source_post_id", "conversation_id"):
            posts[name] += np.where(posts[name] != 0, again << np.uint64(54), np.uint64(0))
        spread_ms = np.arange(BATCH_POSTS) * 1000 // POSTS_PER_SECOND
        elapsed_ms = number * (BATCH_POSTS * 1000 // POSTS_PER_SECOND)
        posts["created_at_ms"] = NOW_MS + elapsed_ms + spread_ms
        yield posts, world.flags[begin : begin + BATCH_POSTS]
