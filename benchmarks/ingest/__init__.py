"""Posts from Apache Kafka into the store: rate beside Kafka's client alone, freshness, decoding.

    python -m benchmarks ingest [--servers HOST:PORT | --no-kafka] [--quick] [--json] [--save]

Without ``--servers`` a broker of its own is started where Java and Kafka's jars are. Contestants
take turns: aiokafka's `getmany`, which throws the records away; our ingestion; the same with an
object an event; and ours from the embedded log. Then the same posts as ``foryou.posts`` has them,
with their texts: straight into the store, as a standalone thunder takes them, and through the
feeder into the compact topic. A restart has its own area, `restart`.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Line, Report, Timing, ratio, sized, take_turns
from benchmarks.ingest import freshness
from benchmarks.ingest.broker import kafka
from benchmarks.ingest.flow import (
    batches_of,
    check_holds,
    decode_and_insert,
    in_turns,
    into_store,
    kafka_alone,
    publish,
    through_feeder,
)
from benchmarks.ingest.workload import Workload, make
from service_kit.clock import SystemClock
from service_kit.event_log import TOPIC_POSTS
from service_kit.interpreter import settle
from service_kit.settings import ServiceSettings
from thunder.events import decode_batch
from thunder.events import decode_each as decode_each_post
from thunder.in_network import decode_each, decode_in_network
from thunder.ingest import Decode
from thunder.warm_up import warm_up

POSTS, POSTS_QUICK = 1_000_000, 20_000
REPEATS, REPEATS_QUICK = 5, 2
PARTITIONS = 4
RATE, RATE_QUICK = 5_000, 500
SECONDS, SECONDS_QUICK = 20.0, 2.0
POSTS_A_SECOND_BAR, SHARE_BAR, FRESHNESS_P99_MS_BAR = 200_000, 0.45, 100.0
OURS, OBJECTS, ALONE, EMBEDDED = "ours", "an object an event", "getmany alone", "embedded log"
STANDALONE, FEEDER = "to visible", "through the feeder, acknowledged"
WHOLE_POSTS_SHARE = 4  # of the posts, as whole events with a text: they are five times as long
NO_KAFKA = "left out: Kafka, which needs Java and its jars (.ci/real-parts) or --servers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--posts", type=int, help=f"posts in the topic ({POSTS:,})")
    parser.add_argument("--repeats", type=int, help=f"turns of each contestant ({REPEATS})")
    parser.add_argument("--rate", type=int, help=f"posts a second for freshness ({RATE:,})")
    parser.add_argument("--seconds", type=float, help=f"of freshness, each way ({SECONDS:g})")
    parser.add_argument("--servers", default="", help="brokers of a running Kafka")
    parser.add_argument("--no-kafka", action="store_true", help="the embedded log alone")


def measure(options: argparse.Namespace) -> Report:
    """ValueError where what was ingested is not what was published."""
    posts = sized(options, "posts", POSTS, POSTS_QUICK)
    repeats = sized(options, "repeats", REPEATS, REPEATS_QUICK)
    rate = sized(options, "rate", RATE, RATE_QUICK)
    seconds = sized(options, "seconds", SECONDS, SECONDS_QUICK)
    warm_up(SystemClock())
    workload = make(posts, SystemClock().now_ms())
    settle()  # as a replica's process does; one has no list of all posts for its collector to walk
    timings = {"decode and insert": _decoding(workload, repeats)}
    lines: list[Line] = []
    notes: list[str] = []
    figures: dict[str, Any] = {}
    brokers = nullcontext("") if options.no_kafka else kafka(options.servers)
    with tempfile.TemporaryDirectory() as directory, brokers as servers:
        runs = _reading(workload, repeats, servers, Path(directory))
        timings["the whole topic"] = {n: Timing.of(runs[n], "ms") for n in runs}
        if servers:
            waits = _freshness(servers, rate, seconds)
            timings[f"freshness at {rate:,} posts a second"] = waits
            lines = _lines(posts, runs, waits)
            whole = posts // WHOLE_POSTS_SHARE
            found = _reading_posts(make(whole, SystemClock().now_ms()), repeats, servers)
            timings[f"{whole:,} posts of foryou.posts"] = {
                name: Timing.of(found[name], "ms") for name in found
            }
            figures |= {
                f"posts a second of foryou.posts, {n}": round(_rate(whole, found[n])) for n in found
            }
        else:
            notes.append(NO_KAFKA)
    figures |= {f"posts a second, {n}": round(_rate(posts, runs[n])) for n in runs}
    shape = {"posts": posts, "bytes a record": len(b"".join(workload.values)) / posts}
    shape |= {"partitions": PARTITIONS, "repeats": repeats}
    return Report("ingest", shape, timings, lines, figures, notes)


def _decoding(workload: Workload, repeats: int) -> dict[str, Timing]:
    ways: dict[str, Decode] = {OURS: decode_in_network, OBJECTS: decode_each}
    batches, count = batches_of(workload), len(workload.values)
    for name, decode in ways.items():
        check_holds(decode_and_insert(batches, count, decode), workload, name)
    contestants = {
        name: partial(decode_and_insert, batches, count, way) for name, way in ways.items()
    }
    seconds = take_turns(contestants, repeats, warm_up=0)
    return {name: Timing.of(seconds[name], "ms") for name in seconds}


def _reading(
    workload: Workload, repeats: int, servers: str, directory: Path
) -> dict[str, list[float]]:
    """Seconds of reading the whole topic, by contestant."""
    count = len(workload.values)

    def ingested(settings: ServiceSettings, decode: Decode, name: str) -> float:
        seconds, store = asyncio.run(into_store(settings, count, decode))
        check_holds(store, workload, name)
        return seconds

    embedded = ServiceSettings.load(data_dir=directory, kafka_bootstrap_servers="")
    asyncio.run(publish(embedded, workload, PARTITIONS))
    contestants: dict[str, Any] = {
        EMBEDDED: partial(ingested, embedded, decode_in_network, EMBEDDED)
    }
    if servers:
        settings = _settings(servers, "rate")
        asyncio.run(publish(settings, workload, PARTITIONS))
        contestants = {
            ALONE: lambda: asyncio.run(kafka_alone(settings, PARTITIONS, count)),
            OURS: partial(ingested, settings, decode_in_network, OURS),
            OBJECTS: partial(ingested, settings, decode_each, OBJECTS),
            **contestants,
        }
    return in_turns(contestants, repeats)


def _reading_posts(workload: Workload, repeats: int, servers: str) -> dict[str, list[float]]:
    """Seconds of reading all of ``foryou.posts``, by contestant; what the feeder made of it is
    checked as well."""
    count, settings = len(workload.values), _settings(servers, "posts")
    asyncio.run(publish(settings, workload.as_posts(), PARTITIONS))

    def ingested(decode: Decode, name: str) -> float:
        seconds, store = asyncio.run(into_store(settings, count, decode, TOPIC_POSTS))
        check_holds(store, workload, name)
        return seconds

    contestants: dict[str, Any] = {
        STANDALONE: partial(ingested, decode_batch, STANDALONE),
        OBJECTS: partial(ingested, decode_each_post, OBJECTS),
        FEEDER: lambda: asyncio.run(through_feeder(settings, PARTITIONS)),
    }
    found = in_turns(contestants, repeats)
    _, store = asyncio.run(into_store(settings, count, decode_in_network))
    check_holds(store, workload, FEEDER)
    return found


def _freshness(servers: str, rate: int, seconds: float) -> dict[str, Timing]:
    waits = {}
    for name, fed in (("compact topic to visible", False), ("post to visible", True)):
        settings = _settings(servers, "fed" if fed else "compact")
        found = freshness.measure(settings, PARTITIONS, rate, seconds, fed=fed)
        waits[name] = Timing.of(found, "ms")
    return waits


def _lines(posts: int, runs: dict[str, list[float]], waits: dict[str, Timing]) -> list[Line]:
    a_second = Line(
        "ingest, Apache Kafka to visible",
        _rate(posts, runs[OURS]),
        POSTS_A_SECOND_BAR,
        "at least",
        "posts a second",
    )
    share = Line(
        "the same beside getmany alone", ratio(runs[ALONE], runs[OURS]), SHARE_BAR, "at least"
    )
    fresh = [
        Line(f"freshness p99, {name}", timing.p99, FRESHNESS_P99_MS_BAR, "at most", "ms")
        for name, timing in waits.items()
    ]
    return [a_second, share, *fresh]


def _rate(posts: int, seconds: list[float]) -> float:
    return posts / Timing.of(seconds, "s").median


def _settings(servers: str, name: str) -> ServiceSettings:
    """Topics of this run's own."""
    return ServiceSettings.load(
        kafka_bootstrap_servers=servers, kafka_topic_prefix=f"bench-{time.time_ns()}-{name}."
    )
