"""How long after it is due at its publisher a post can be found: open loop, through real Kafka.

Two ways: published to the compact topic (compact topic → visible), and published to
``foryou.posts`` with a feeder process between (publish → feeder → compact topic → visible). The
store is this process's; publisher and feeder are processes of their own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ingest import workload
from benchmarks.ingest.flow import consumer_into
from service_kit.clock import SystemClock
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS, dead_letter_topic
from service_kit.settings import ServiceSettings
from service_kit.topics import DAY_MS, TopicSpec, ensure_topics
from thunder.in_network import decode_in_network
from thunder.store import PostStore

WARM_UP_S = 3.0  # of publishing, left out: connections, first batches
FEEDER_START_S_MAX, FEEDER_STOP_S_MAX = 120.0, 60.0
ARRIVAL_S_MAX = 30.0  # after the last is due


class WatchedStore(PostStore):
    """Notes when each post became visible."""

    def __init__(self, posts_max: int) -> None:
        super().__init__(SystemClock(), posts_max=posts_max)
        self.seen: list[tuple[NDArray[np.uint64], float]] = []

    def insert(self, posts: NDArray[np.void], flags: NDArray[np.uint8]) -> dict[str, int]:
        outcomes = super().insert(posts, flags)
        self.seen.append((posts["post_id"].copy(), time.monotonic()))
        return outcomes


def measure(
    settings: ServiceSettings, partitions: int, rate: int, seconds: float, *, fed: bool
) -> list[float]:
    """Seconds from due to visible of every post after the warm-up. ``fed``: with the feeder."""
    names = [TOPIC_POSTS, TOPIC_IN_NETWORK]
    names += [dead_letter_topic(name) for name in names]
    specs = [TopicSpec(name, "author", DAY_MS) for name in names]
    asyncio.run(ensure_topics(settings, specs=specs, partitions=partitions, wait_s=60))
    count = int(rate * (seconds + WARM_UP_S))
    with _feeder(settings) if fed else nullcontext():
        return asyncio.run(_follow(settings, TOPIC_POSTS if fed else TOPIC_IN_NETWORK, count, rate))


async def _follow(settings: ServiceSettings, topic: str, count: int, rate: int) -> list[float]:
    store = WatchedStore(count)
    async with consumer_into(settings, store, decode_in_network):
        start_s = await _publish(settings, topic, count, rate)
        await _until_all(store, count)
    return _waits(store, start_s, rate, count)


def _waits(store: WatchedStore, start_s: float, rate: int, count: int) -> list[float]:
    """Posts are published in the order of the workload, whose ids are 1 to ``count``."""
    order = workload.make(count, 0)
    due_s = np.empty(count + 1)
    due_s[order.posts["post_id"].astype(np.int64)] = start_s + np.arange(count) / rate
    waits = [at_s - due_s[ids.astype(np.int64)] for ids, at_s in store.seen]
    late = [due_s[ids.astype(np.int64)] >= start_s + WARM_UP_S for ids, _ in store.seen]
    found: list[float] = np.concatenate(waits)[np.concatenate(late)].tolist()
    return found


async def _publish(settings: ServiceSettings, topic: str, count: int, rate: int) -> float:
    """Returns its start once everything is sent."""
    command = [sys.executable, "-m", "benchmarks.ingest.publisher", "--topic", topic]
    command += ["--servers", settings.kafka_bootstrap_servers]
    command += ["--prefix", settings.kafka_topic_prefix]
    command += ["--count", str(count), "--rate", str(rate), "--first-id", "1"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said, _ = await process.communicate()
    if process.returncode:
        raise ValueError(f"the publisher failed with exit code {process.returncode}")
    return float(said)


async def _until_all(store: WatchedStore, count: int) -> None:
    end_s = time.monotonic() + ARRIVAL_S_MAX
    while sum(ids.size for ids, _ in store.seen) < count:
        if time.monotonic() > end_s:
            raise ValueError(f"{store.sizes().posts} of {count} posts have become visible")
        await asyncio.sleep(0.05)


@contextmanager
def _feeder(settings: ServiceSettings) -> Iterator[None]:
    """A feeder process that has caught up."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            "THUNDER__MODE": "feeder",
            "THUNDER__DATA_DIR": directory,
            "THUNDER__GRPC_PORT": "0",
            "THUNDER__KAFKA_TOPIC_PREFIX": settings.kafka_topic_prefix,
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        }
        log = Path(directory) / "log.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "thunder.server"],
                env={**os.environ, **environment},
                stdout=file,
                stderr=file,
            )
        try:
            _wait_until_said(log, "caught up", process)
            yield
        finally:
            process.terminate()
            process.wait(FEEDER_STOP_S_MAX)


def _wait_until_said(log: Path, words: str, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + FEEDER_START_S_MAX
    while words not in log.read_text():
        if process.poll() is not None or time.monotonic() > end_s:
            raise ValueError(f"the feeder does not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)
