"""Writing to Redis: nothing acknowledged is lost unnoticed, and several may write at once."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
from real_parts.redis import RedisCluster, RedisServer

from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.protocols import StoreError, StoreFullError
from home_mixer.clients.redis import actions, rows
from home_mixer.clients.redis import writer as writer_module
from home_mixer.clients.redis.keys import KeySchema
from home_mixer.clients.redis.state import StoreLostError
from home_mixer.clients.writes import BLOCK, Action, EdgeChange, FeatureBatch, PostContent

AT = ("foryou.posts", 0)
SMALL = FeatureBatch(contents=[(1, PostContent(2, 3, text="t"))])


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_an_emptied_redis_is_noticed_at_the_next_write_and_begun_again(
    redis_server: RedisServer, make_writer: Any
) -> None:
    writer = make_writer(redis_server.url)
    writer.apply(SMALL, {AT: 5})
    writer.check()
    redis_server.command("FLUSHALL")
    with pytest.raises(StoreLostError, match="256 of 256 markers: it was emptied"):
        writer.apply(SMALL, {AT: 6})
    with pytest.raises(StoreLostError):
        writer.check()
    assert writer.positions() == {}
    writer.apply(SMALL, {AT: 1})
    assert writer.positions() == {AT: 1}


def test_an_emptied_redis_is_noticed_at_the_next_start(
    redis_server: RedisServer, make_writer: Any
) -> None:
    make_writer(redis_server.url).apply(SMALL, {AT: 5})
    assert make_writer(redis_server.url, filled=False).positions() == {AT: 5}
    redis_server.command("FLUSHALL")
    assert make_writer(redis_server.url, filled=False).positions() == {}


def test_a_part_that_was_lost_begins_everything_again_and_keeps_its_readers_out(
    redis_server: RedisServer, make_writer: Any, key_prefix: str
) -> None:
    writer = make_writer(redis_server.url)
    writer.apply(SMALL, {AT: 5})
    markers = KeySchema(key_prefix).markers
    redis_server.command("DEL", markers[17])
    with pytest.raises(StoreLostError, match="1 of 256 markers"):
        writer.check()
    assert writer.positions() == {}
    assert redis_server.command("GET", markers[17]).startswith("filling:")
    assert redis_server.command("GET", markers[18]).startswith("ready:")


def test_a_redis_that_went_back_in_time_is_read_again_from_there(
    redis_server: RedisServer, make_writer: Any, key_prefix: str
) -> None:
    writer = make_writer(redis_server.url)
    writer.apply(SMALL, {AT: 5})
    writer.apply(SMALL, {AT: 9})
    state = KeySchema(key_prefix).state
    redis_server.command("HSET", state, "at:foryou.posts/0", "5")  # as an old file would
    with pytest.raises(StoreLostError, match="older state"):
        writer.check()
    with pytest.raises(StoreLostError, match="older state"):
        writer.apply(SMALL, {AT: 12})
    assert writer.positions() == {AT: 5}
    writer.apply(SMALL, {AT: 12})


def test_an_ingester_that_is_behind_never_takes_positions_back(
    redis_server: RedisServer, make_writer: Any
) -> None:
    ahead, behind = make_writer(redis_server.url), make_writer(redis_server.url, filled=False)
    ahead.apply(SMALL, {AT: 3})
    behind.positions()
    ahead.apply(SMALL, {AT: 9})
    behind.apply(SMALL, {AT: 5})
    assert ahead.positions() == {AT: 9}


def test_readers_are_let_in_once_every_share_has_caught_up(
    redis_server: RedisServer, make_writer: Any
) -> None:
    first, second = (make_writer(redis_server.url, filled=False) for _ in range(2))
    first.positions()
    second.positions()
    assert not first.filled((0, 2))
    assert not first.filled((0, 2)), "one share reported twice"
    assert second.filled((1, 2))
    assert first.filled((0, 2))


def test_a_second_ingester_joins_the_filling_that_the_first_began(
    redis_server: RedisServer, make_writer: Any
) -> None:
    first, second = make_writer(redis_server.url), make_writer(redis_server.url)
    redis_server.command("FLUSHALL")
    assert first.positions() == {}
    first.apply(SMALL, {AT: 2})
    with pytest.raises(StoreLostError):
        second.apply(SMALL, {("foryou.posts", 1): 7})
    assert second.positions() == {AT: 2}
    second.check()
    first.check()


@pytest.mark.parametrize("where", ["one", "cluster"])
async def test_two_who_write_the_same_rows_at_once_end_in_the_oracles_state(
    where: str, request: pytest.FixtureRequest, make_writer: Any, make_store: Any
) -> None:
    server = request.getfixturevalue({"one": "redis_server", "cluster": "cluster"}[where])
    random_ = random.Random(3)
    changes = [
        (BLOCK, random_.randrange(1, 4), random_.randrange(1, 30), EdgeChange(n, n % 3 == 0))
        for n in range(600)
    ]
    statuses = [(random_.randrange(1, 5), n % 2 == 0, n) for n in range(600)]
    oracle = MemoryFeatureStore()
    oracle.apply(FeatureBatch(edges=changes, statuses=statuses), {})
    make_writer(server.url)

    def write(seed: int, failures: list[StoreError]) -> None:
        writer, mine = make_writer(server.url, filled=False), random.Random(seed)
        try:
            for _ in range(30):
                part = FeatureBatch(
                    edges=mine.sample(changes, 60), statuses=mine.sample(statuses, 60)
                )
                writer.apply(part, {})
            writer.apply(FeatureBatch(edges=changes, statuses=statuses), {})
        except StoreError as error:
            failures.append(error)

    failures: list[StoreError] = []
    threads = [threading.Thread(target=write, args=(seed, failures)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    clients, expected = make_store(server.url).clients(), oracle.clients()
    everyone = ids(*range(1, 30))
    for user in range(1, 30):
        ours, theirs = (
            await clients.graph.get_features(user),
            await expected.graph.get_features(user),
        )
        assert ours.blocked_user_ids.tolist() == theirs.blocked_user_ids.tolist()
        blocks = await clients.graph.blocks_viewer(user, everyone)
        assert blocks.tolist() == (await expected.graph.blocks_viewer(user, everyone)).tolist()
    seen = await clients.visibility.get_visibility(ids(1, 2, 3, 4))
    assert (
        seen.deleted.tolist()
        == (await expected.visibility.get_visibility(ids(1, 2, 3, 4))).deleted.tolist()
    )


def test_a_value_that_never_holds_still_is_an_error_and_no_endless_loop(
    redis_server: RedisServer, make_writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = make_writer(redis_server.url)
    writer.apply(SMALL, {})
    monkeypatch.setattr(writer_module, "REPLACE", "return 0")
    with pytest.raises(StoreError, match="changed under every one of 20 merges"):
        writer.apply(FeatureBatch(statuses=[(1, True, 5)]), {AT: 1})
    assert writer.positions() == {}


def test_a_full_redis_stores_no_position_for_rows_that_it_refused(
    redis_server: RedisServer, make_writer: Any
) -> None:
    writer = make_writer(redis_server.url)
    writer.apply(SMALL, {AT: 5})
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreFullError, match="raise maxmemory"):
        writer.apply(FeatureBatch(contents=[(2, PostContent(2, 3))]), {AT: 6})
    assert writer.positions() == {AT: 5}
    redis_server.command("CONFIG", "SET", "maxmemory", "0")
    writer.apply(FeatureBatch(contents=[(2, PostContent(2, 3))]), {AT: 6})
    assert writer.positions() == {AT: 6}


def test_a_redis_that_may_evict_blocks_is_told(redis_server: RedisServer, make_writer: Any) -> None:
    writer = make_writer(redis_server.url)
    assert writer.warnings() == []
    redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    (warning,) = writer.warnings()
    assert "allkeys-lru" in warning
    assert "CONFIG SET maxmemory-policy noeviction" in warning


def test_every_master_of_a_cluster_is_asked_for_its_policy(
    cluster: RedisCluster, make_writer: Any
) -> None:
    cluster.servers[1].command("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    try:
        assert len(make_writer(cluster.url).warnings()) == 1
    finally:
        cluster.servers[1].command("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_a_users_actions_are_bounded_to_the_newest(
    redis_server: RedisServer,
    make_writer: Any,
    make_store: Any,
    monkeypatch: pytest.MonkeyPatch,
    key_prefix: str,
) -> None:
    monkeypatch.setattr(rows, "ACTIONS_PER_USER_MAX", 8)
    monkeypatch.setattr(actions, "ACTIONS_PER_USER_MAX", 8)
    writer = make_writer(redis_server.url)
    for start in range(0, 100, 5):
        batch = [(1, Action(t, 50, 1, 9, 1, 0.0)) for t in range(start, start + 5)]
        writer.apply(FeatureBatch(actions=batch), {})
    newest = await make_store(redis_server.url).clients().actions.newest_actions(1, 100)
    assert newest.acted_at_ms.tolist() == list(range(92, 100))
    key = KeySchema(key_prefix).user("actions", 1)
    assert int(redis_server.command("ZCARD", key)) <= 8 * 5 // 4


def test_a_writer_that_was_closed_says_so(redis_server: RedisServer, make_writer: Any) -> None:
    writer = make_writer(redis_server.url)
    writer.close()
    with pytest.raises(StoreError, match="has been closed"):
        writer.apply(SMALL, {})
