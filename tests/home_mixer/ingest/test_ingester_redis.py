"""The ingester over a real Redis that is emptied, hangs, refuses writes, or is not there yet."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from real_parts.redis import RedisServer

from home_mixer.clients.opening import open_feature_clients
from home_mixer.clients.protocols import FeatureClients, StoreError
from home_mixer.ingest.life import READY_AS, STORE_AS
from home_mixer.ingester import IngesterProcess
from home_mixer.settings import HomeMixerSettings, IngesterSettings
from protos import events_pb2 as pb
from service_kit.clock import SystemClock
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.event_log import TOPIC_GRAPH, TOPIC_POSTS, event_key
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.snowflake import first_id_at

VIEWER, AUTHOR = 7, 9
DEADLINE_S = 60.0  # bounds failure alone: the machine may be busy
STORE_BUDGET_MS = 20_000.0
POST_ID = first_id_at(SystemClock().now_ms() - 60_000)


class Rig:
    """An ingester process, its log, and home_mixer's view of the store."""

    def __init__(self, directory: Path, redis_url: str, prefix: str) -> None:
        shared = {"data_dir": directory, "redis_url": redis_url, "redis_key_prefix": prefix}
        self.settings = IngesterSettings.load(**shared, batch_records=500)
        self.mixer_settings = HomeMixerSettings.load(**shared, store_budget_ms=STORE_BUDGET_MS)
        self.log = EmbeddedLogWriter(directory / "log")
        self.metrics = Metrics("ingester")
        self.readiness = Readiness()
        self.clients: FeatureClients

    def post(self, post_id: int) -> None:
        create = pb.PostCreate(post_id=post_id, author_id=AUTHOR, created_at_ms=5, text="t")
        self._append(TOPIC_POSTS, AUTHOR, pb.PostEvent(create=create).SerializeToString())

    def delete(self, post_id: int) -> None:
        event = pb.PostEvent(delete=pb.PostDelete(post_id=post_id, deleted_at_ms=50))
        self._append(TOPIC_POSTS, AUTHOR, event.SerializeToString())

    def block(self, user_id: int, target_id: int) -> None:
        edge = pb.GraphEdge(
            kind=pb.GraphEdge.KIND_BLOCK,
            user_id=user_id,
            target_user_id=target_id,
            changed_at_ms=50,
        )
        self._append(TOPIC_GRAPH, user_id, pb.GraphEvent(edge=edge).SerializeToString())

    def _append(self, topic: str, key: int, value: bytes) -> None:
        self.log.append_many_sync(topic, [(event_key(key), value, 1)])

    async def posts_found(self, *post_ids: int) -> bool:
        return bool((await self.clients.posts.get_posts(np.array(post_ids, np.uint64))).found.all())

    async def blocked(self) -> list[int]:
        blocked: list[int] = (
            await self.clients.graph.get_features(VIEWER)
        ).blocked_user_ids.tolist()
        return blocked

    def ready(self) -> bool:
        return self.readiness.serving(READY_AS) and self.readiness.serving()


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[IngesterProcess]:
    process = IngesterProcess(rig.settings, rig.metrics, rig.readiness, SystemClock())
    store = await open_feature_clients(rig.mixer_settings)
    rig.clients = store.clients
    try:
        await process.start()
        yield process
    finally:
        await process.stop()
        await store.close()


async def until(holds: Callable[[], object], what: str) -> None:
    """Waits for a condition; what a store refuses meanwhile does not hold yet."""
    end_s, last = time.monotonic() + DEADLINE_S, ""
    while True:
        try:
            value = holds()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
        except StoreError as error:
            last = str(error)
        assert time.monotonic() < end_s, f"{what} did not come true: {last}"
        await asyncio.sleep(0.02)


@pytest.fixture
async def rig(tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path, redis_server.url, uuid.uuid4().hex)
    rig.block(VIEWER, AUTHOR)
    rig.post(POST_ID)
    rig.delete(POST_ID)
    yield rig
    await rig.log.close()


async def test_readers_are_let_in_once_everything_is_there(rig: Rig) -> None:
    async with running(rig):
        await until(rig.blocked, "the block")
        assert await rig.blocked() == [AUTHOR]
        seen = await rig.clients.visibility.get_visibility(np.array([POST_ID], np.uint64))
        assert (seen.found[0], seen.deleted[0]) == (True, True)
        await until(lambda: rig.metrics.value("store_filled") == 1, "store_filled")
        await until(rig.ready, "readiness")


async def test_an_emptied_redis_is_filled_again_and_shows_nothing_half_full(
    rig: Rig, redis_server: RedisServer
) -> None:
    rig.settings = rig.settings.model_copy(
        update={"batch_records": 3}
    )  # many steps to be caught in
    for number in range(1, 300):
        rig.post(POST_ID + number)
    rig.block(VIEWER, 12)
    async with running(rig):
        await until(rig.blocked, "the blocks")
        redis_server.command("FLUSHALL")
        refused = 0
        while (
            rig.metrics.value("store_filled") == 0 or rig.metrics.value("store_losses_total") == 0
        ):
            try:
                assert await rig.blocked() == [AUTHOR, 12], "a block was forgotten"
            except StoreError:
                refused += 1
            await asyncio.sleep(0.005)
        assert refused > 0
        await until(lambda: rig.posts_found(POST_ID, POST_ID + 299 - 1), "the posts")
        assert await rig.blocked() == [AUTHOR, 12]
        assert rig.metrics.value("store_losses_total") == 1
        await until(rig.ready, "readiness")
        rig.block(VIEWER, 13)
        await until(lambda: _has(rig, 13), "an event after it")


async def _has(rig: Rig, blocked_id: int) -> bool:
    return blocked_id in await rig.blocked()


async def test_a_redis_that_was_emptied_while_nobody_looked_is_filled_at_the_start(
    rig: Rig, redis_server: RedisServer
) -> None:
    async with running(rig):
        await until(rig.blocked, "the block")
    redis_server.command("FLUSHALL")
    rig.metrics, rig.readiness = Metrics("ingester"), Readiness()
    async with running(rig):
        await until(rig.blocked, "the block again")
        assert await rig.blocked() == [AUTHOR]


async def test_a_redis_that_hangs_is_said_and_written_when_it_goes_on(
    rig: Rig, redis_server: RedisServer
) -> None:
    async with running(rig):
        await until(rig.ready, "readiness")
        redis_server.pause()
        rig.post(POST_ID + 1)
        await until(lambda: not rig.ready(), "NOT_SERVING")
        assert "did not answer in time" in rig.readiness.state().reason
        redis_server.resume()
        await until(lambda: rig.posts_found(POST_ID + 1), "the post")
        await until(rig.ready, "readiness again")


@pytest.mark.parametrize(
    ("refusing", "working", "says"),
    [
        (("maxmemory", "1"), ("maxmemory", "0"), "raise maxmemory"),
        (("min-replicas-to-write", "1"), ("min-replicas-to-write", "0"), "too few replicas"),
    ],
)
async def test_a_redis_that_refuses_writes_loses_none_of_them(
    rig: Rig,
    redis_server: RedisServer,
    refusing: tuple[str, str],
    working: tuple[str, str],
    says: str,
) -> None:
    async with running(rig):
        await until(rig.ready, "readiness")
        redis_server.command("CONFIG", "SET", *refusing)
        for number in range(1, 1_200):
            rig.post(POST_ID + number)
        await until(lambda: says in rig.readiness.state().reason, "NOT_SERVING")
        assert await rig.blocked() == [AUTHOR], "what can be read is still read"
        redis_server.command("CONFIG", "SET", *working)
        numbers = range(1, 1_200)
        await until(lambda: rig.posts_found(*(POST_ID + n for n in numbers)), "the posts")
        await until(rig.ready, "readiness again")
    assert not (rig.settings.log_dir / f"{TOPIC_POSTS}.dead").exists()


async def test_a_redis_that_is_away_at_the_start_is_waited_for(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.kill()
    rig = Rig(tmp_path, redis_server.url, "late")
    rig.block(VIEWER, AUTHOR)
    async with running(rig):
        await until(lambda: "cannot be reached" in rig.readiness.state().reason, "a reason")
        redis_server.start()
        await until(rig.blocked, "the block")
        await until(rig.ready, "readiness")
    await rig.log.close()


async def test_a_redis_that_restarts_from_nothing_is_filled_again(
    rig: Rig, redis_server: RedisServer
) -> None:
    async with running(rig):
        await until(rig.ready, "readiness")
        redis_server.kill()
        await until(lambda: not rig.readiness.serving(), "NOT_SERVING")
        redis_server.start()
        await until(rig.blocked, "the block")
        assert rig.metrics.value("store_losses_total") == 1
        await until(rig.ready, "readiness again")


async def test_a_redis_that_may_evict_blocks_is_warned_of(
    rig: Rig, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with running(rig):
        await until(lambda: rig.metrics.value("store_may_evict") == 1, "the warning")
    assert any("noeviction" in str(getattr(r, "reason", "")) for r in caplog.records)


async def test_two_ingesters_share_the_partitions(tmp_path: Path, redis_url: str) -> None:
    prefix = uuid.uuid4().hex
    log = EmbeddedLogWriter(tmp_path / "log", partitions={TOPIC_GRAPH: 4, TOPIC_POSTS: 4})
    rigs = [Rig(tmp_path, redis_url, prefix) for _ in range(2)]
    for number, rig in enumerate(rigs):
        rig.settings = rig.settings.model_copy(update={"share": f"{number}/2"})
    edges = [
        pb.GraphEdge(kind=2, user_id=user, target_user_id=AUTHOR, changed_at_ms=5)
        for user in range(1, 40)
    ]
    entries = [(event_key(e.user_id), pb.GraphEvent(edge=e).SerializeToString(), 1) for e in edges]
    log.append_many_sync(TOPIC_GRAPH, entries)
    async with running(rigs[0]):
        await until(lambda: rigs[0].readiness.serving(READY_AS), "the first share")
        with pytest.raises(StoreError, match="is being filled"):
            await rigs[0].blocked()
        async with running(rigs[1]):
            await until(rigs[1].blocked, "both shares")
            everyone = [
                (await rigs[0].clients.graph.get_features(user)).blocked_user_ids.tolist()
                for user in range(1, 40)
            ]
            assert everyone == [[AUTHOR]] * 39
            handled = [
                rig.metrics.value("consumer_records_total", consumer="ingester") for rig in rigs
            ]
            assert sum(handled) == 39
            assert min(handled) > 0
            assert STORE_AS in rigs[0].readiness.snapshot()
    await log.close()
