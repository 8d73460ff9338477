"""A replica of ten million posts that starts again: exec to SERVING, and what a snapshot costs.

    python -m benchmarks restart [--posts N] [--tail N] [--servers HOST:PORT | --no-kafka]

The process is the real one (`foryou serve thunder --mode serving`). It starts from a snapshot of
``--posts`` posts and reads the ``--tail`` posts that came to the topic since; then its answers must
be those of the store that the snapshot was taken from, tail included, before its time counts. Cold:
the snapshot's file was dropped from the page cache. The snapshot is written while nothing else
goes on; the *pause* is how long an insert had to wait meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from benchmarks.harness import Line, Report, Timing, sized
from benchmarks.ingest.broker import kafka
from benchmarks.ingest.flow import publish
from benchmarks.ingest.workload import FLAGS, make, posts_of
from benchmarks.restart.process import Replica, answers_of
from service_kit.clock import SystemClock
from service_kit.event_log import TOPIC_IN_NETWORK, Record, TopicPartition, records_until_now
from service_kit.event_logs import open_source
from service_kit.metrics import Metrics
from service_kit.settings import ServiceSettings
from thunder.log_identity import mark_of
from thunder.metrics import ThunderMetrics
from thunder.shares import WHOLE
from thunder.snapshot import Snapshots, Stand
from thunder.store import PostStore
from thunder.warm_up import warm_up

POSTS, POSTS_QUICK = 10_000_000, 20_000
TAIL, TAIL_QUICK = 300_000, 2_000  # a minute of 5,000 posts a second
REPEATS, REPEATS_QUICK = 3, 2
FIRST_POSTS = 1_000  # in the topic before the snapshot: what it knows the log by
INSERTED_AT_ONCE = 5_000
AUTHORS_ASKED = 200
SERVING_S_BAR = 10.0
PROBE_S = 0.001
PARTITIONS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--posts", type=int, help=f"posts in the snapshot ({POSTS:,})")
    parser.add_argument("--tail", type=int, help=f"posts in the topic since ({TAIL:,})")
    parser.add_argument("--repeats", type=int, help=f"starts, cold and warm each ({REPEATS})")
    parser.add_argument("--servers", default="", help="brokers of a running Kafka")
    parser.add_argument("--no-kafka", action="store_true", help="the embedded log")


def measure(options: argparse.Namespace) -> Report:
    """ValueError where the restarted replica answers otherwise than the store before."""
    posts = sized(options, "posts", POSTS, POSTS_QUICK)
    tail = sized(options, "tail", TAIL, TAIL_QUICK)
    repeats = sized(options, "repeats", REPEATS, REPEATS_QUICK)
    brokers = nullcontext("") if options.no_kafka else kafka(options.servers)
    with tempfile.TemporaryDirectory() as directory, brokers as servers:
        settings = ServiceSettings.load(
            data_dir=directory,
            kafka_bootstrap_servers=servers,
            kafka_topic_prefix=f"restart-{time.time_ns()}.",
        )
        written = _prepare(settings, posts, tail)
        starts = _starts(settings, written, posts + tail, repeats)
    timings = {name: Timing.of(seconds, "s") for name, seconds in starts.items()}
    slowest = max(timing.median for timing in timings.values())
    line = Line("restart to SERVING, snapshot and tail", slowest, SERVING_S_BAR, "at most", "s")
    shape = {"posts": posts, "tail": tail, "log": "Kafka" if servers else "embedded"}
    figures = {
        "snapshot GB": round(written.file_bytes / 1e9, 3),
        "snapshot written, s": round(written.seconds, 3),
        "longest wait of an insert meanwhile, ms": round(written.pause_s * 1e3, 1),
        "the same, written in place, ms": round(written.pause_in_place_s * 1e3, 1),
    }
    return Report("restart", shape, {"exec to SERVING": timings}, [line], figures)


class Written:
    """A snapshot, what it took, and what a replica must answer."""

    def __init__(self, path: Path, seconds: float, pause_s: float) -> None:
        self.path, self.seconds, self.pause_s = path, seconds, pause_s
        self.pause_in_place_s = 0.0
        self.file_bytes = path.stat().st_size
        self.answers: dict[int, list[int]] = {}


def _prepare(settings: ServiceSettings, posts: int, tail: int) -> Written:
    clock = SystemClock()
    now_ms = clock.now_ms()
    warm_up(clock)
    first = make(FIRST_POSTS, now_ms, seed=3, first_id=posts + tail + 1)
    asyncio.run(publish(settings, first, PARTITIONS))
    stand = asyncio.run(_stand(settings))
    store = PostStore(clock, posts_max=posts + tail + FIRST_POSTS)
    store.insert(first.posts, first.flags)
    rows, kinds = posts_of(posts, now_ms)
    _insert(store, rows, FLAGS[kinds])
    del rows
    in_place = _write(settings, store, stand, in_place=True)
    written = _write(settings, store, stand, in_place=False)
    written.pause_in_place_s = in_place.pause_s
    later = make(tail, now_ms, seed=2, first_id=posts + 1)
    asyncio.run(publish(settings, later, PARTITIONS))
    _insert(store, later.posts, later.flags)
    authors = np.unique(later.posts["author_id"])[:AUTHORS_ASKED]
    written.answers = answers_of(store, authors.tolist())
    return written


def _insert(store: PostStore, posts: np.ndarray, flags: np.ndarray) -> None:
    for begin in range(0, len(posts), INSERTED_AT_ONCE):
        part = slice(begin, begin + INSERTED_AT_ONCE)
        store.insert(posts[part], flags[part])


async def _stand(settings: ServiceSettings) -> Stand:
    """Of a replica that has read what is in the topic."""
    source = await open_source(settings, [TOPIC_IN_NETWORK])
    last: dict[TopicPartition, Record] = {}
    async for records in records_until_now(source):
        last |= {(record.topic, record.partition): record for record in records}
    positions = dict(source.positions())
    await source.close()
    return Stand(positions, {at: mark_of(record) for at, record in last.items()})


def _write(settings: ServiceSettings, store: PostStore, stand: Stand, *, in_place: bool) -> Written:
    """Writes it while another thread inserts nothing, again and again, and notes its longest
    wait: an insert's of one post, which takes microseconds alone."""
    metrics = ThunderMetrics(Metrics("thunder")).snapshots
    clock = SystemClock()
    snapshots = Snapshots(settings.snapshots_dir, TOPIC_IN_NETWORK, WHOLE, clock, metrics)
    done, waits = threading.Event(), [0.0]
    known = posts_of(1, clock.now_ms(), first_id=1)[0]

    def insert() -> None:
        while not done.is_set():
            began = time.perf_counter()
            store.insert(known, np.zeros(1, np.uint8))
            waits.append(time.perf_counter() - began)
            time.sleep(PROBE_S)

    inserting = threading.Thread(target=insert)
    inserting.start()
    began = time.perf_counter()
    try:
        if not snapshots.write(store, stand, in_place=in_place):
            raise ValueError(f"no snapshot could be written to {settings.snapshots_dir}")
        seconds = time.perf_counter() - began
    finally:
        done.set()
        inserting.join()
    newest = max(settings.snapshots_dir.glob("*.snapshot"))
    return Written(newest, seconds, max(waits))


def _starts(
    settings: ServiceSettings, written: Written, posts_max: int, repeats: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {"warm file": [], "cold file": []}
    for _ in range(repeats):
        for name, taken in seconds.items():
            if name == "cold file":
                _drop_from_cache(written.path)
            with Replica(settings, posts_max + FIRST_POSTS) as replica:
                taken.append(replica.until_serving())
                replica.check(written.answers)
    return seconds


def _drop_from_cache(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)
