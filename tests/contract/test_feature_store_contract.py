"""One behaviour for every feature store: in memory, embedded, on Redis and on Redis Cluster."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from real_parts import redis

from home_mixer.clients.embedded import EmbeddedFeatureStore
from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.protocols import FeatureClients, RequestInfo, UserFeatures
from home_mixer.clients.redis.rows import HOUR_MS, Retention
from home_mixer.clients.redis.store import RedisFeatureStore
from home_mixer.clients.redis.users import DAY_MS
from home_mixer.clients.redis.writer import RedisFeatureWriter
from home_mixer.clients.writes import (
    BLOCK,
    FOLLOW,
    MUTE,
    SUBSCRIBE,
    Action,
    EdgeChange,
    FeatureBatch,
    FeatureWriter,
    PostContent,
    Profile,
)
from service_kit.clock import ManualClock
from service_kit.metrics import Metrics

VIEWER = 7
RETENTION = Retention(posts_ms=HOUR_MS, users_ms=DAY_MS)


class Store(NamedTuple):
    clients: FeatureClients
    writer: FeatureWriter


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


@pytest.fixture(scope="session")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three masters that all tests share: each uses a key prefix of its own."""
    if not redis.available():
        pytest.skip(redis.HOW_TO_GET_IT)
    with redis.RedisCluster(tmp_path_factory.mktemp("redis-cluster")) as cluster:
        yield cluster.url


@pytest.fixture(params=["memory", "embedded", "redis", "redis-cluster"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        memory = MemoryFeatureStore()
        yield Store(memory.clients(), memory)
    elif request.param == "embedded":
        embedded = EmbeddedFeatureStore(tmp_path, map_bytes=64 << 20)
        yield Store(embedded.clients(), embedded.writer)
        embedded.close()
    else:
        name = {"redis": "redis_url", "redis-cluster": "redis_cluster_url"}[request.param]
        url, prefix = request.getfixturevalue(name), uuid.uuid4().hex
        writer = RedisFeatureWriter(url, key_prefix=prefix, retention=RETENTION)
        assert writer.positions() == {}
        assert writer.filled((0, 1))
        reader = RedisFeatureStore(
            url,
            key_prefix=prefix,
            timeout_s=30.0,
            connections_max=8,
            cached_posts_max=3,
            user_days=365,
            clock=ManualClock(),
            metrics=Metrics("home_mixer"),
        )
        yield Store(reader.clients(), writer)
        await reader.close()
        writer.close()


FULL = PostContent(
    author_id=2**63 + 5,
    created_at_ms=1_790_000_000_123,
    in_reply_to_post_id=11,
    in_reply_to_user_id=12,
    conversation_id=13,
    reposted_post_id=14,
    reposted_user_id=15,
    quoted_post_id=16,
    quoted_user_id=17,
    subscription_author_id=18,
    video_duration_ms=19_000,
    has_media=True,
    text="grüße 🌍 こんにちは",
)


async def test_a_post_comes_back_as_it_was_written(store: Store) -> None:
    store.writer.apply(FeatureBatch(contents=[(2**64 - 1, FULL)]), {})
    batch = await store.clients.posts.get_posts(ids(5, 2**64 - 1, 2**64 - 1))
    assert batch.found.tolist() == [False, True, True]
    for name in PostContent._fields:
        assert getattr(batch, name)[1] == getattr(FULL, name), name
    assert batch.text.tolist() == ["", FULL.text, FULL.text]
    assert batch.author_id[0] == 0


async def test_asking_for_nothing_is_answered_with_nothing(store: Store) -> None:
    assert (await store.clients.posts.get_posts(ids())).found.shape == (0,)
    assert (await store.clients.profiles.get_profiles(ids())).found.shape == (0,)
    assert (await store.clients.visibility.get_visibility(ids())).found.shape == (0,)
    assert (await store.clients.graph.blocks_viewer(VIEWER, ids())).shape == (0,)
    assert (await store.clients.graph.follows_viewer(VIEWER, ids())).shape == (0,)
    assert len(await store.clients.actions.newest_actions(VIEWER, 0)) == 0


async def test_a_delete_that_overtakes_its_create_still_deletes(store: Store) -> None:
    store.writer.apply(FeatureBatch(statuses=[(1, True, 50)]), {})
    store.writer.apply(FeatureBatch(contents=[(1, PostContent(9, 10, text="late"))]), {})
    seen = await store.clients.visibility.get_visibility(ids(1))
    assert (seen.found[0], seen.deleted[0]) == (True, True)
    store.writer.apply(FeatureBatch(statuses=[(1, False, 60), (1, True, 40)]), {})
    assert not (await store.clients.visibility.get_visibility(ids(1))).deleted[0]


async def test_a_post_known_by_its_labels_alone_is_not_found(store: Store) -> None:
    store.writer.apply(FeatureBatch(labels=[(1, 0b100, 50)]), {})
    seen = await store.clients.visibility.get_visibility(ids(1))
    assert (seen.found[0], seen.labels[0]) == (False, 0b100)


async def test_the_card_of_a_deleted_quoted_post_is_gone(store: Store) -> None:
    store.writer.apply(FeatureBatch(quotes_gone=[1]), {})
    store.writer.apply(FeatureBatch(contents=[(1, FULL), (2, FULL)]), {})
    batch = await store.clients.posts.get_posts(ids(1, 2))
    assert batch.quoted_post_id.tolist() == [0, 16]
    assert batch.quoted_user_id.tolist() == [0, 17]


async def test_an_unknown_viewer_has_empty_lists(store: Store) -> None:
    features = await store.clients.graph.get_features(404)
    assert features.followed_user_ids.shape == (0,)
    assert features.muted_keywords == ()
    assert len(await store.clients.actions.newest_actions(404, 10)) == 0
    assert (await store.clients.served.served_since(404, 0, 10)).shape == (0,)
    assert await store.clients.requests.get_request(404) is None


async def test_lists_follow_the_newest_change_of_each_edge(store: Store) -> None:
    changes = [
        (FOLLOW, VIEWER, 30, EdgeChange(10, False)),
        (FOLLOW, VIEWER, 20, EdgeChange(10, False)),
        (FOLLOW, VIEWER, 20, EdgeChange(11, True)),
        (BLOCK, VIEWER, 40, EdgeChange(10, False)),
        (MUTE, VIEWER, 2**64 - 1, EdgeChange(10, False)),
        (SUBSCRIBE, VIEWER, 60, EdgeChange(10, True)),
        (SUBSCRIBE, VIEWER, 60, EdgeChange(12, False)),
    ]
    store.writer.apply(FeatureBatch(edges=changes), {})
    store.writer.apply(FeatureBatch(edges=[(FOLLOW, VIEWER, 20, EdgeChange(9, False))]), {})
    features = await store.clients.graph.get_features(VIEWER)
    assert features.followed_user_ids.tolist() == [30]
    assert features.blocked_user_ids.tolist() == [40]
    assert features.muted_user_ids.tolist() == [2**64 - 1]
    assert features.subscribed_user_ids.tolist() == [60]


async def test_who_blocks_and_who_follows_the_viewer(store: Store) -> None:
    edges = [
        (BLOCK, 1, VIEWER, EdgeChange(10, False)),
        (BLOCK, 2, VIEWER, EdgeChange(10, False)),
        (BLOCK, 2, VIEWER, EdgeChange(11, True)),
        (FOLLOW, 3, VIEWER, EdgeChange(10, False)),
        (FOLLOW, 3, 99, EdgeChange(10, False)),
        (FOLLOW, 4, VIEWER, EdgeChange(10, True)),
        (FOLLOW, VIEWER, 5, EdgeChange(10, False)),
    ]
    store.writer.apply(FeatureBatch(edges=edges), {})
    authors = ids(5, 4, 3, 2, 1, 3)
    blocks = await store.clients.graph.blocks_viewer(VIEWER, authors)
    follows = await store.clients.graph.follows_viewer(VIEWER, authors)
    assert blocks.tolist() == [False, False, False, False, True, False]
    assert follows.tolist() == [False, False, True, False, False, True]


async def test_muted_keywords_keep_the_newest_change_of_each_word(store: Store) -> None:
    words = [
        (VIEWER, "zebra", EdgeChange(1, False)),
        (VIEWER, "größe", EdgeChange(1, False)),
        (VIEWER, "old", EdgeChange(5, True)),
        (VIEWER, "old", EdgeChange(4, False)),
    ]
    store.writer.apply(FeatureBatch(keywords=words), {})
    store.writer.apply(FeatureBatch(keywords=[(VIEWER, "zebra", EdgeChange(1, False))]), {})
    features = await store.clients.graph.get_features(VIEWER)
    assert features.muted_keywords == ("größe", "zebra")


async def test_the_newest_profile_stays(store: Store) -> None:
    newer, older = Profile(20, "ana", True, 5_000_000_000), Profile(10, "old_name", False, 1)
    store.writer.apply(FeatureBatch(profiles=[(3, newer)]), {})
    store.writer.apply(FeatureBatch(profiles=[(3, older)]), {})
    batch = await store.clients.profiles.get_profiles(ids(3, 4, 3))
    assert batch.found.tolist() == [True, False, True]
    assert batch.screen_name.tolist() == ["ana", "", "ana"]
    assert batch.verified.tolist() == [True, False, True]
    assert batch.followers_count.tolist() == [5_000_000_000, 0, 5_000_000_000]


async def test_the_newest_actions_come_oldest_first(store: Store) -> None:
    rows = [(VIEWER, Action(t, 100 + t, 1, 9, 1, 0.5 * t)) for t in (5, 3, 4, 1, 2)]
    neighbours = [(VIEWER + 1, Action(9, 9, 1, 9, 1, 0.0)), (VIEWER - 1, Action(9, 9, 1, 9, 1, 0))]
    store.writer.apply(FeatureBatch(actions=rows + neighbours), {})
    store.writer.apply(FeatureBatch(actions=rows), {})  # delivered twice
    newest = await store.clients.actions.newest_actions(VIEWER, 3)
    assert newest.acted_at_ms.tolist() == [3, 4, 5]
    assert newest.post_id.tolist() == [103, 104, 105]
    assert newest.seconds.tolist() == [1.5, 2.0, 2.5]
    assert newest.author_id.tolist() == [9, 9, 9]
    assert len(await store.clients.actions.newest_actions(VIEWER, 100)) == 5


async def test_the_largest_user_id_has_actions_too(store: Store) -> None:
    store.writer.apply(FeatureBatch(actions=[(2**64 - 1, Action(1, 2, 3, 4, 1, 0.0))]), {})
    assert (await store.clients.actions.newest_actions(2**64 - 1, 5)).post_id.tolist() == [2]


async def test_served_history_is_newest_first_and_within_its_window(store: Store) -> None:
    served = store.clients.served
    await served.add_served(VIEWER, ids(1, 2), 1_000)
    await served.add_served(VIEWER, ids(2, 3), 2_000)
    await served.add_served(VIEWER, ids(2, 3), 2_000)
    assert (await served.served_since(VIEWER, 0, 10)).tolist() == [3, 2, 1]
    assert (await served.served_since(VIEWER, 1_001, 10)).tolist() == [3, 2]
    assert (await served.served_since(VIEWER, 0, 1)).tolist() == [3]


async def test_the_newest_request_is_remembered(store: Store) -> None:
    newer = RequestInfo("r-2", 2_000, "abc", ids(4, 5))
    await store.clients.requests.put_request(VIEWER, newer)
    await store.clients.requests.put_request(VIEWER, RequestInfo("r-1", 1_000, "abc", ids(1)))
    found = await store.clients.requests.get_request(VIEWER)
    assert found is not None
    assert (found.request_id, found.served_at_ms, found.params_hash) == ("r-2", 2_000, "abc")
    assert found.post_ids.tolist() == [4, 5]


async def test_positions_are_stored_with_the_rows(store: Store) -> None:
    assert store.writer.positions() == {}
    store.writer.apply(FeatureBatch(), {("foryou.posts", 0): 5, ("foryou.graph", 3): 1})
    store.writer.apply(FeatureBatch(), {("foryou.posts", 0): 9})
    assert store.writer.positions() == {("foryou.posts", 0): 9, ("foryou.graph", 3): 1}


async def test_trimming_forgets_the_oldest_posts_alone(store: Store) -> None:
    if isinstance(store.writer, RedisFeatureWriter):
        assert store.writer.trim(35, 2) == 0  # keys expire: tests/home_mixer/clients/redis
        return
    contents = [(post_id, PostContent(1, post_id)) for post_id in (10, 20, 30, 40)]
    store.writer.apply(FeatureBatch(contents=contents), {})
    assert store.writer.trim(35, 2) == 2
    assert (await store.clients.posts.get_posts(ids(10, 20, 30, 40))).found.tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert store.writer.trim(35, 10) == 1
    assert store.writer.trim(35, 10) == 0


def _random_batch(random_: random.Random) -> list[FeatureBatch]:
    """One event a batch, with many collisions of ids and times."""
    time = lambda: random_.randrange(4)  # noqa: E731
    batches = []
    for _ in range(150):
        post, user, other = (random_.randrange(1, 5) for _ in range(3))
        change = EdgeChange(time(), random_.random() < 0.5)
        text = random_.choice(("a", "b"))
        batches.append(
            random_.choice(
                (
                    FeatureBatch(contents=[(post, PostContent(user, time(), text=text))]),
                    FeatureBatch(statuses=[(post, random_.random() < 0.5, time())]),
                    FeatureBatch(labels=[(post, random_.randrange(4), time())]),
                    FeatureBatch(quotes_gone=[post]),
                    FeatureBatch(edges=[(random_.choice((FOLLOW, BLOCK)), user, other, change)]),
                    FeatureBatch(keywords=[(user, text, change)]),
                    FeatureBatch(profiles=[(user, Profile(time(), text, True, time()))]),
                    FeatureBatch(actions=[(user, Action(time(), post, 1, other, time(), time()))]),
                )
            )
        )
    return batches


def _together(batches: list[FeatureBatch]) -> FeatureBatch:
    whole = FeatureBatch()
    for batch in batches:
        for name in FeatureBatch.__slots__:
            getattr(whole, name).extend(getattr(batch, name))
    return whole


async def _view(clients: FeatureClients) -> list[object]:
    """Everything that a reader can see, as plain values."""
    everyone = ids(*range(1, 5))
    views: list[object] = []
    for batch in (
        await clients.posts.get_posts(everyone),
        await clients.profiles.get_profiles(everyone),
        *[await clients.actions.newest_actions(user, 100) for user in range(1, 5)],
    ):
        views += [getattr(batch, name).tolist() for name in type(batch).__slots__]
    for user in range(1, 5):
        features: UserFeatures = await clients.graph.get_features(user)
        views += [features.followed_user_ids.tolist(), features.blocked_user_ids.tolist()]
        views += [features.muted_keywords]
        views.append((await clients.graph.blocks_viewer(user, everyone)).tolist())
        views.append((await clients.graph.follows_viewer(user, everyone)).tolist())
    return views


@pytest.mark.parametrize("seed", range(8))
async def test_any_order_with_duplicates_ends_in_the_oracles_state(store: Store, seed: int) -> None:
    random_ = random.Random(seed)
    batches = _random_batch(random_)
    oracle = MemoryFeatureStore()
    oracle.apply(_together(batches), {})
    shuffled = batches + random_.sample(batches, 60)
    random_.shuffle(shuffled)
    while shuffled:
        size = random_.randrange(1, 40)
        store.writer.apply(_together(shuffled[:size]), {})
        shuffled = shuffled[size:]
    assert await _view(store.clients) == await _view(oracle.clients())
