"""Reads of a Redis that is slow, away, empty or in the middle of being filled."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import numpy as np
import pytest
from real_parts.redis import RedisServer
from redis import Redis

from home_mixer.clients.protocols import StoreError, StoreFullError
from home_mixer.clients.redis.keys import KeySchema, bucket_of
from home_mixer.clients.redis.users import lasting_keys
from home_mixer.clients.writes import BLOCK, MUTE, EdgeChange, FeatureBatch, PostContent, Profile
from service_kit.clock import ManualClock
from service_kit.metrics import Metrics

VIEWER = 7
DAY_MS = 86_400_000
LISTS = FeatureBatch(
    edges=[(BLOCK, VIEWER, 3, EdgeChange(1, False)), (BLOCK, 4, VIEWER, EdgeChange(1, False))],
    keywords=[(VIEWER, "spoiler", EdgeChange(1, False))],
)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


async def test_a_paused_redis_fails_each_call_in_its_time_and_serves_when_it_goes_on(
    redis_server: RedisServer, make_writer: Any, make_store: Any, metrics: Metrics
) -> None:
    make_writer(redis_server.url).apply(LISTS, {})
    graph = make_store(redis_server.url, timeout_s=0.3, connections_max=2).clients().graph
    await graph.get_features(VIEWER)
    redis_server.pause()
    started_s = time.monotonic()
    answers = await asyncio.gather(
        *(graph.get_features(VIEWER) for _ in range(20)), return_exceptions=True
    )
    took_s = time.monotonic() - started_s
    redis_server.resume()
    assert {str(answer).split("; ")[0] for answer in answers} == {
        f"Redis at 127.0.0.1:{redis_server.port} did not answer in time"
    }
    assert took_s < 5, "callers waited for one another"
    assert metrics.value("redis_failures_total") == 20
    assert (await _retried(graph, VIEWER)).blocked_user_ids.tolist() == [3]


async def _retried(graph: Any, viewer_id: int, seconds: float = 20.0) -> Any:
    """The first answer; raises the last error when none comes in time."""
    end_s = time.monotonic() + seconds
    while True:
        try:
            return await graph.get_features(viewer_id)
        except StoreError:
            if time.monotonic() > end_s:
                raise
            await asyncio.sleep(0.02)


async def test_calls_that_were_given_up_leave_no_answer_for_others(
    redis_server: RedisServer, make_writer: Any, make_store: Any
) -> None:
    profiles = [(user, Profile(1, f"name{user}", False, user)) for user in range(1, 400)]
    make_writer(redis_server.url).apply(FeatureBatch(profiles=profiles), {})
    store = make_store(redis_server.url, connections_max=3).clients().profiles
    random_ = random.Random(5)
    for _ in range(40):
        calls = [asyncio.create_task(store.get_profiles(ids(user))) for user in range(1, 30)]
        for _ in range(random_.randrange(12)):
            await asyncio.sleep(0)
        for call in random_.sample(calls, 20):
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for user, answer in enumerate(answers, start=1):
            if not isinstance(answer, asyncio.CancelledError):
                assert answer.screen_name.tolist() == [f"name{user}"]


async def test_a_redis_that_is_away_is_named_without_its_password(make_store: Any) -> None:
    store = make_store("redis://me:secret@127.0.0.1:1/0")
    with pytest.raises(StoreError, match=r"Redis at 127\.0\.0\.1:1 cannot be reached") as raised:
        await store.clients().graph.get_features(VIEWER)
    assert "secret" not in str(raised.value)


async def test_a_redis_that_restarts_empty_answers_no_reads_until_it_is_filled(
    redis_server: RedisServer, make_writer: Any, make_store: Any
) -> None:
    make_writer(redis_server.url).apply(LISTS, {})
    graph = make_store(redis_server.url).clients().graph
    assert (await graph.get_features(VIEWER)).blocked_user_ids.tolist() == [3]
    redis_server.kill()
    with pytest.raises(StoreError, match="cannot be reached"):
        await graph.get_features(VIEWER)
    redis_server.start()
    with pytest.raises(StoreError, match="holds no features"):
        await graph.get_features(VIEWER)
    writer = make_writer(redis_server.url, filled=False)
    writer.apply(LISTS, {})
    with pytest.raises(StoreError, match="is being filled"):
        await graph.get_features(VIEWER)
    writer.filled((0, 1))
    assert (await graph.get_features(VIEWER)).blocked_user_ids.tolist() == [3]


@pytest.mark.parametrize(
    "call", ["posts", "visibility", "profiles", "features", "blocks", "follows", "actions"]
)
async def test_no_ingested_store_answers_from_an_emptied_redis(
    redis_server: RedisServer, make_writer: Any, make_store: Any, call: str
) -> None:
    make_writer(redis_server.url).apply(LISTS, {})
    clients = make_store(redis_server.url).clients()
    calls = {
        "posts": lambda: clients.posts.get_posts(ids(1)),
        "visibility": lambda: clients.visibility.get_visibility(ids(1)),
        "profiles": lambda: clients.profiles.get_profiles(ids(1)),
        "features": lambda: clients.graph.get_features(VIEWER),
        "blocks": lambda: clients.graph.blocks_viewer(VIEWER, ids(4)),
        "follows": lambda: clients.graph.follows_viewer(VIEWER, ids(4)),
        "actions": lambda: clients.actions.newest_actions(VIEWER, 10),
    }
    await calls[call]()
    redis_server.command("FLUSHALL")
    with pytest.raises(StoreError, match="holds no features"):
        await calls[call]()


async def test_only_readers_of_the_part_that_was_lost_are_refused(
    redis_server: RedisServer, make_writer: Any, make_store: Any, key_prefix: str
) -> None:
    make_writer(redis_server.url).apply(LISTS, {})
    lost = bucket_of(VIEWER)
    spared = next(user for user in range(1_000, 2_000) if bucket_of(user) != lost)
    redis_server.command("DEL", KeySchema(key_prefix).markers[lost])
    graph = make_store(redis_server.url).clients().graph
    with pytest.raises(StoreError, match="holds no features"):
        await graph.get_features(VIEWER)
    assert (await graph.get_features(spared)).blocked_user_ids.tolist() == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (("maxmemory", "1"), "raise maxmemory"),
        (("min-replicas-to-write", "1"), "too few replicas"),
    ],
)
async def test_a_redis_that_refuses_writes_says_why_and_goes_on_answering(
    redis_server: RedisServer,
    make_writer: Any,
    make_store: Any,
    metrics: Metrics,
    settings: tuple[str, str],
    says: str,
) -> None:
    make_writer(redis_server.url).apply(LISTS, {})
    clients = make_store(redis_server.url).clients()
    redis_server.command("CONFIG", "SET", *settings)
    kind = StoreFullError if settings[0] == "maxmemory" else StoreError
    with pytest.raises(kind, match=says):
        await clients.served.add_served(VIEWER, ids(1), 10)
    assert (await clients.graph.get_features(VIEWER)).blocked_user_ids.tolist() == [3]
    assert (await clients.graph.blocks_viewer(VIEWER, ids(4, 5))).tolist() == [True, False]


async def test_a_read_only_replica_serves_reads_and_refuses_writes(
    redis_server: RedisServer, make_writer: Any, make_store: Any, metrics: Metrics
) -> None:
    make_writer(redis_server.url).apply(LISTS, {})
    redis_server.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
    redis_server.command("REPLICAOF", "127.0.0.1", "1")
    clients = make_store(redis_server.url).clients()
    assert (await clients.graph.get_features(VIEWER)).blocked_user_ids.tolist() == [3]
    assert metrics.value("redis_refresh_failures_total") > 0
    with pytest.raises(StoreError, match="read-only replica"):
        await clients.served.add_served(VIEWER, ids(1), 10)


async def test_a_viewer_who_comes_by_keeps_the_lists_that_protect_them(
    redis_server: RedisServer,
    make_writer: Any,
    make_store: Any,
    key_prefix: str,
    clock: ManualClock,
) -> None:
    make_writer(redis_server.url).apply(LISTS, {})
    graph = make_store(redis_server.url).clients().graph
    with Redis.from_url(redis_server.url) as redis:
        keys = [key for key in lasting_keys(KeySchema(key_prefix), VIEWER) if redis.exists(key)]
        assert len(keys) == 3  # blocks, who blocks the viewer, keywords

        def age(left_ms: int) -> None:
            for key in keys:
                redis.pexpire(key, left_ms)

        def left_ms() -> int:
            return min(redis.pttl(key) for key in keys)

        age(DAY_MS)
        await graph.get_features(VIEWER)
        assert left_ms() > 364 * DAY_MS
        age(DAY_MS)
        await graph.get_features(VIEWER)
        assert left_ms() <= DAY_MS, "asked again within the day"
        clock.advance_ms(DAY_MS)
        await graph.get_features(VIEWER)
        assert left_ms() > 364 * DAY_MS


async def test_contents_are_kept_in_process_and_what_can_change_is_not(
    redis_server: RedisServer, make_writer: Any, make_store: Any, metrics: Metrics
) -> None:
    writer = make_writer(redis_server.url)
    content = PostContent(9, 10, quoted_post_id=3, quoted_user_id=4, text="kept")
    writer.apply(FeatureBatch(contents=[(1, content), (2, content)]), {})
    posts = make_store(redis_server.url).clients().posts
    await posts.get_posts(ids(1, 2))
    assert metrics.value("post_cache_reads_total", found="no") == 2
    writer.apply(FeatureBatch(statuses=[(1, True, 5)], labels=[(2, 8, 5)], quotes_gone=[2]), {})
    batch = await posts.get_posts(ids(1, 2, 5))
    assert metrics.value("post_cache_reads_total", found="yes") == 2
    assert batch.found.tolist() == [True, True, False]
    assert batch.deleted.tolist() == [True, False, False]
    assert batch.labels.tolist() == [0, 8, 0]
    assert batch.quoted_post_id.tolist() == [3, 0, 0]
    assert batch.text.tolist() == ["kept", "kept", ""]


async def test_the_cache_is_bounded_and_brings_no_expired_post_back(
    redis_server: RedisServer, make_writer: Any, make_store: Any, metrics: Metrics
) -> None:
    contents = [(n, PostContent(9, 10, text=f"t{n}")) for n in range(1, 11)]
    make_writer(redis_server.url).apply(FeatureBatch(contents=contents), {})
    posts = make_store(redis_server.url, cached_posts_max=4).clients().posts
    batch = await posts.get_posts(ids(*range(1, 11)))
    assert batch.text.tolist() == [f"t{n}" for n in range(1, 11)]
    assert metrics.value("post_cache_posts") == 4
    with Redis.from_url(redis_server.url) as redis:
        redis.delete(*redis.scan_iter("*:status:*"))
    batch = await posts.get_posts(ids(10))
    assert (batch.found[0], batch.text[0], batch.author_id[0]) == (False, "", 0)


async def test_a_long_list_comes_back_whole(
    redis_server: RedisServer, make_writer: Any, make_store: Any
) -> None:
    muted = [(MUTE, VIEWER, user, EdgeChange(user, user % 2 == 0)) for user in range(1, 5_001)]
    make_writer(redis_server.url).apply(FeatureBatch(edges=muted), {})
    features = await make_store(redis_server.url).clients().graph.get_features(VIEWER)
    assert features.muted_user_ids.tolist() == list(range(1, 5_001, 2))
