"""Two feeders share Kafka's partitions; each is restarted while posts come in: none is lost."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from contextlib import asynccontextmanager
from typing import Any

import pytest
from real_parts.processes import Processes

from foryou.children import Children
from home_mixer.clients.grpc_channel import open_channel
from protos import events_pb2, thunder_pb2, thunder_pb2_grpc
from service_kit.clock import SystemClock
from service_kit.event_log import TOPIC_POSTS, event_key
from service_kit.event_logs import open_sink
from service_kit.settings import ServiceSettings
from service_kit.snowflake import SnowflakeGenerator
from service_kit.topics import ensure_topics

pytestmark = pytest.mark.e2e

AUTHORS = range(1, 201)
PAUSE_S = 0.25  # between two posts: some hundreds in all, so that one answer can hold them
POSTS_BETWEEN = 10
SOON_S = 90.0
SERVING = "foryou.thunder.v1.InNetworkPostsService"
FEEDER = "foryou.thunder.feeder"


class Writers:
    """Somebody posts all the time; `post_ids` are those that Kafka has acknowledged."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self.post_ids: list[int] = []

    @asynccontextmanager
    async def posting(self) -> Any:
        task = asyncio.create_task(self._post())
        yield self
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def some_more(self) -> None:
        wanted = len(self.post_ids) + POSTS_BETWEEN
        await until(lambda: len(self.post_ids) >= wanted, "more posts")

    async def _post(self) -> None:
        clock = SystemClock()
        ids, sink = SnowflakeGenerator(1, clock), await open_sink(self._settings)
        try:
            for author in itertools.cycle(AUTHORS):
                create = events_pb2.PostCreate(
                    post_id=ids.next(), author_id=author, created_at_ms=clock.now_ms(), text="x"
                )
                event = events_pb2.PostEvent(create=create).SerializeToString()
                await sink.append(TOPIC_POSTS, event_key(author), event, clock.now_ms())
                self.post_ids.append(create.post_id)
                await asyncio.sleep(PAUSE_S)
        finally:
            await sink.close()


async def until(reached: Any, what: str) -> None:
    end_s = time.monotonic() + SOON_S
    while not reached():
        assert time.monotonic() < end_s, f"no {what} within {SOON_S} s"
        await asyncio.sleep(0.05)


async def served(address: str) -> list[int]:
    """Ids of all posts that thunder holds."""
    async with open_channel(address, SERVING) as channel:
        request = thunder_pb2.GetInNetworkPostsRequest(following_user_ids=AUTHORS)
        stub = thunder_pb2_grpc.InNetworkPostsServiceStub(channel)
        answer = await stub.GetInNetworkPosts(request, timeout=SOON_S)
        return [post.post_id for post in answer.posts]


async def test_feeders_restarted_one_after_the_other_lose_no_post(
    kafka_bootstrap_servers: str, tmp_path: Any
) -> None:
    prefix = f"rolling-{uuid.uuid4().hex[:8]}-"
    settings = ServiceSettings(
        data_dir=tmp_path,
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        kafka_topic_prefix=prefix,
    )
    await ensure_topics(settings, partitions=4, wait_s=60)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "THUNDER__KAFKA_TOPIC_PREFIX": prefix,
    }
    writers = Writers(settings)
    async with Children(tmp_path) as children:
        processes = Processes(tmp_path, children, environment)
        for name in ("feeder-0", "feeder-1"):
            await processes.start(name, "thunder", "--mode", "feeder")
        await processes.start("serving", "thunder", "--mode", "serving")
        for name, service in (("feeder-0", FEEDER), ("feeder-1", FEEDER), ("serving", SERVING)):
            await processes.ready(name, service)
        async with writers.posting():
            for name in ("feeder-0", "feeder-1"):
                await writers.some_more()
                assert await processes.terminate(name) == 0
                await writers.some_more()
                await processes.again(name)
                await processes.ready(name, FEEDER)
            await writers.some_more()
        wanted, end_s = set(writers.post_ids), time.monotonic() + SOON_S
        while not wanted <= set(shown := await served(processes.addresses["serving"])):
            assert time.monotonic() < end_s, f"lost {len(wanted - set(shown))} of {len(wanted)}"
            await asyncio.sleep(0.1)
        assert len(shown) == len(set(shown))
        assert await processes.terminate("serving") == 0
        print(f"{len(wanted)} posts through two restarts of feeders, none lost")
