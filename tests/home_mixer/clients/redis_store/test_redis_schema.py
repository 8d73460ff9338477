"""Keys of Redis: where they lie, how long they live, and how many trips a read takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from real_parts.redis import RedisCluster, RedisServer
from redis import Redis
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot

from home_mixer.clients.protocols import FeatureClients, RequestInfo
from home_mixer.clients.redis.keys import BUCKETS, KeySchema, bucket_of, bucket_tags, buckets_of
from home_mixer.clients.redis.users import lasting_keys
from home_mixer.clients.writes import (
    BLOCK,
    FOLLOW,
    Action,
    EdgeChange,
    FeatureBatch,
    PostContent,
    Profile,
)
from service_kit.clock import ManualClock
from service_kit.snowflake import first_id_at

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
VIEWER = 7
POSTS = np.arange(1, 1_001, dtype=np.uint64)


def everything(first_post_id: int = 1) -> FeatureBatch:
    """Something of each kind of row."""
    added = EdgeChange(10, False)
    return FeatureBatch(
        contents=[(first_post_id + n, PostContent(9, 10, text="t")) for n in range(10)],
        statuses=[(first_post_id, True, 20)],
        labels=[(first_post_id + 1, 4, 20)],
        quotes_gone=[first_post_id + 2],
        edges=[(FOLLOW, VIEWER, 3, added), (BLOCK, 4, VIEWER, added), (FOLLOW, 3, VIEWER, added)],
        keywords=[(VIEWER, "w", added)],
        profiles=[(VIEWER, Profile(10, "ana", True, 5))],
        actions=[(VIEWER, Action(10, 2, 3, 4, 1, 0.5))],
    )


async def serve(clients: FeatureClients) -> None:
    await clients.served.add_served(VIEWER, POSTS[:3], 10)
    await clients.requests.put_request(VIEWER, RequestInfo("r", 10, "h", POSTS[:3]))


READS: dict[str, Callable[[FeatureClients], Awaitable[Any]]] = {
    "posts": lambda c: c.posts.get_posts(POSTS),
    "visibility": lambda c: c.visibility.get_visibility(POSTS),
    "profiles": lambda c: c.profiles.get_profiles(POSTS),
    "features": lambda c: c.graph.get_features(VIEWER),
    "blocks": lambda c: c.graph.blocks_viewer(VIEWER, POSTS),
    "follows": lambda c: c.graph.follows_viewer(VIEWER, POSTS),
    "actions": lambda c: c.actions.newest_actions(VIEWER, 4_096),
    "served": lambda c: c.served.served_since(VIEWER, 0, 100),
    "add_served": lambda c: c.served.add_served(VIEWER, POSTS, 20),
    "request": lambda c: c.requests.get_request(VIEWER),
    "put_request": lambda c: c.requests.put_request(VIEWER, RequestInfo("r", 20, "h", POSTS)),
}


@pytest.fixture
def sent_to(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often something was sent to each port: redis-py sends a whole pipeline at once."""
    sends: Counter[int] = Counter()
    send = AbstractConnection.send_packed_command

    async def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        sends[self.port] += 1
        return await send(self, *args, **kwargs)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counting)
    return sends


@pytest.mark.parametrize("read", READS)
async def test_each_call_is_one_round_trip(
    redis_server: RedisServer, make_writer: Any, make_store: Any, sent_to: Counter[int], read: str
) -> None:
    make_writer(redis_server.url).apply(everything(), {})
    clients = make_store(redis_server.url).clients()
    await clients.requests.get_request(1)  # connects
    sent_to.clear()
    await READS[read](clients)
    assert sent_to == {redis_server.port: 1}


@pytest.mark.parametrize("read", READS)
async def test_on_a_cluster_each_node_gets_one_round_trip_at_most(
    cluster: RedisCluster, make_writer: Any, make_store: Any, sent_to: Counter[int], read: str
) -> None:
    make_writer(cluster.url).apply(everything(), {})
    clients = make_store(cluster.url).clients()
    await clients.posts.get_posts(POSTS + np.uint64(5_000))  # connects to every node
    sent_to.clear()
    await READS[read](clients)
    assert set(sent_to.values()) == {1}
    many = read in ("posts", "visibility", "profiles")
    assert len(sent_to) == (3 if many else 1)


async def test_every_key_expires(
    redis_server: RedisServer, make_writer: Any, make_store: Any
) -> None:
    make_writer(redis_server.url).apply(everything(), {("foryou.posts", 0): 5})
    await serve(make_store(redis_server.url).clients())
    with Redis.from_url(redis_server.url) as redis:
        keys = list(redis.scan_iter(count=1_000))
        kinds = {key.decode().rsplit(":", 2 if b"}:" in key else 1)[1] for key in keys}
        left_ms = {key: redis.pttl(key) for key in keys}
    assert {"post", "status", "profile", "keywords", "actions", "served", "request"} <= kinds
    assert [key for key, left in left_ms.items() if left <= 0] == []
    assert max(left_ms.values()) <= 365 * DAY_MS


async def test_a_post_lives_as_long_as_its_age_allows_and_its_delete_longer(
    redis_server: RedisServer, make_writer: Any, key_prefix: str, clock: ManualClock
) -> None:
    now_ms = clock.now_ms()
    young, old, odd = first_id_at(now_ms - HOUR_MS), first_id_at(now_ms - 9 * DAY_MS), 5
    writer = make_writer(redis_server.url, posts_ms=7 * DAY_MS)
    for post_id in (young, old, odd):
        writer.apply(everything(post_id), {})
    keys = KeySchema(key_prefix)
    left_hours = []
    with Redis.from_url(redis_server.url) as redis:
        for post_id in (young, old, odd):
            at = [post_id], [bucket_of(post_id)]
            post, status = keys.posts(*at)[0], keys.statuses(*at)[0]
            left_hours.append((redis.pttl(post) / HOUR_MS, redis.pttl(status) / HOUR_MS))
    assert np.allclose(left_hours, [(167, 168), (1, 2), (168, 169)], atol=0.1)


def test_what_is_used_together_lies_in_one_slot() -> None:
    keys = KeySchema("foryou")
    users = np.arange(1, 500, dtype=np.uint64)
    for user_id, bucket in zip(users.tolist(), buckets_of(users), strict=True):
        assert bucket == bucket_of(user_id)
        wanted = [*lasting_keys(keys, user_id), keys.user("served", user_id), keys.markers[bucket]]
        wanted += keys.profiles([user_id], [bucket]) + keys.statuses([user_id], [bucket])
        assert len({key_slot(key.encode()) for key in wanted}) == 1


@pytest.mark.parametrize("masters", [2, 4, 8, 16, 32])
def test_masters_that_share_the_slots_evenly_share_the_posts_evenly(masters: int) -> None:
    slots = [key_slot(f"{{{tag}}}".encode()) for tag in bucket_tags()]
    assert set(Counter(slot * masters // 16_384 for slot in slots).values()) == {BUCKETS // masters}
    ids = np.array([first_id_at(1_790_000_000_000 + 977 * n) for n in range(50_000)], np.uint64)
    counts = np.bincount(buckets_of(ids), minlength=BUCKETS)  # their low bits are all 0
    assert counts.min() > 100
    assert counts.max() < 400
