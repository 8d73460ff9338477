"""Feeder and replica as processes on a real Kafka, killed again and again: nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos import events_pb2, thunder_pb2, thunder_pb2_grpc
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS, event_key
from service_kit.event_logs import open_sink
from service_kit.topics import TOPICS, ensure_topics
from thunder.settings import ThunderSettings

pytestmark = pytest.mark.e2e
AUTHORS = 50
POSTS = 6_000
BATCH = 300
DONE_S_MAX = 240  # a start compiles or loads kernels; the machine may be busy


class Processes:
    """thunder's two stages, each of which may be killed and started again."""

    def __init__(self, directory: Path, servers: str, prefix: str) -> None:
        self._environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "THUNDER__KAFKA_TOPIC_PREFIX": prefix,
            "THUNDER__DATA_DIR": str(directory),
            "THUNDER__GRPC_PORT": "0",
            "THUNDER__LOG_LEVEL": "ERROR",
            "THUNDER__POSTS_MAX": "100000",
            "THUNDER__BATCH_RECORDS": "200",
            "THUNDER__SNAPSHOT_INTERVAL_SECONDS": "0.5",
        }
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.kills = 0

    def start(self, mode: str) -> str:
        """The address that it listens on."""
        self._running[mode] = process = subprocess.Popen(
            [sys.executable, "-m", "thunder.server"],
            env={**self._environment, "THUNDER__MODE": mode},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        return str(json.loads(process.stdout.readline())["grpc_address"])

    def kill(self, mode: str) -> None:
        process = self._running.pop(mode)
        process.kill()
        process.communicate()
        self.kills += 1

    def end(self, mode: str) -> int:
        process = self._running.pop(mode)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        return process.returncode

    def close(self) -> None:
        for mode in list(self._running):
            self.kill(mode)


@pytest.fixture
def processes(tmp_path: Path, kafka_bootstrap_servers: str) -> Iterator[Any]:
    made = Processes(tmp_path, kafka_bootstrap_servers, f"k{random.getrandbits(32):08x}.")
    yield made
    made.close()


def history(rng: random.Random) -> tuple[list[tuple[bytes, bytes, int]], set[int]]:
    """Events, shuffled and some of them twice, and the ids that live in the end."""
    now_ms = int(time.time() * 1000)
    events: list[tuple[int, Any]] = []
    alive = set(range(1, POSTS + 1))
    for post_id in alive.copy():
        author = post_id % AUTHORS + 1
        created = events_pb2.PostCreate(
            post_id=post_id, author_id=author, created_at_ms=now_ms - 5_000_000 + post_id
        )
        events.append((author, events_pb2.PostEvent(create=created)))
        if rng.random() < 0.2:
            gone = events_pb2.PostDelete(
                post_id=post_id, author_id=author, deleted_at_ms=now_ms - 9_000
            )
            events.append((author, events_pb2.PostEvent(delete=gone)))
            alive.discard(post_id)
            if rng.random() < 0.3:
                back = events_pb2.PostUndelete(
                    post_id=post_id, author_id=author, undeleted_at_ms=now_ms - 8_000
                )
                events.append((author, events_pb2.PostEvent(undelete=back)))
                alive.add(post_id)
    events += rng.sample(events, len(events) // 50)
    rng.shuffle(events)
    entries = [(event_key(key), event.SerializeToString(), now_ms) for key, event in events]
    return entries, alive


def newest_by_author(alive: set[int]) -> set[int]:
    """What a query may return: the newest fifty originals an author."""
    shown: set[int] = set()
    for author in range(1, AUTHORS + 1):
        own = sorted((i for i in alive if i % AUTHORS + 1 == author), reverse=True)
        shown |= set(own[:50])
    return shown


async def answered(address: str) -> set[int]:
    """Post ids of everybody; empty while it does not serve."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = thunder_pb2_grpc.InNetworkPostsServiceStub(channel)
        request = thunder_pb2.GetInNetworkPostsRequest(
            user_id=999, following_user_ids=range(1, AUTHORS + 1), max_results=10_000
        )
        try:
            answer = await stub.GetInNetworkPosts(request, timeout=10)
        except grpc.aio.AioRpcError:
            return set()
        return {post.post_id for post in answer.posts}


async def until_answered(address: str, expected: set[int]) -> None:
    async with asyncio.timeout(DONE_S_MAX):
        while await answered(address) != expected:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.2)


async def test_t04_killed_stages_lose_nothing(processes: Any, kafka_bootstrap_servers: str) -> None:
    rng = random.Random(20261122)
    settings = ThunderSettings(
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        kafka_topic_prefix=processes._environment["THUNDER__KAFKA_TOPIC_PREFIX"],
    )
    specs = [s for s in TOPICS if s.name.startswith((TOPIC_POSTS, TOPIC_IN_NETWORK))]
    await ensure_topics(settings, specs=specs, wait_s=30)
    entries, alive = history(rng)
    sink = await open_sink(settings)
    processes.start("feeder")
    address = processes.start("serving")
    for at in range(0, len(entries), BATCH):
        await sink.append_many(TOPIC_POSTS, entries[at : at + BATCH])
        if rng.random() < 0.25:
            mode = rng.choice(["feeder", "feeder", "serving"])
            processes.kill(mode)
            started = processes.start(mode)
            address = started if mode == "serving" else address
    await sink.close()
    expected = newest_by_author(alive)
    await until_answered(address, expected)
    assert processes.kills >= 3
    assert processes.end("serving") == 0
    address = processes.start("serving")
    await until_answered(address, expected)
    assert processes.end("feeder") == 0
