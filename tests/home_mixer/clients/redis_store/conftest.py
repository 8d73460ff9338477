"""Writers and readers of a real Redis, each with a key prefix of its test's own."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from real_parts import redis

from home_mixer.clients.redis.rows import Retention
from home_mixer.clients.redis.store import RedisFeatureStore
from home_mixer.clients.redis.writer import RedisFeatureWriter
from service_kit.clock import ManualClock
from service_kit.metrics import Metrics

HOUR_MS, DAY_MS = 3_600_000, 86_400_000

MakeWriter = Callable[..., RedisFeatureWriter]
MakeStore = Callable[..., RedisFeatureStore]


@pytest.fixture
def key_prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(time.time_ns() // 1_000_000)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("home_mixer")


@pytest.fixture
def make_writer(key_prefix: str) -> Iterator[MakeWriter]:
    """A writer whose store readers may use at once, unless ``filled`` is false."""
    made: list[RedisFeatureWriter] = []

    def make(url: str, *, filled: bool = True, posts_ms: int = 7 * DAY_MS) -> RedisFeatureWriter:
        retention = Retention(posts_ms=posts_ms, users_ms=365 * DAY_MS)
        writer = RedisFeatureWriter(url, key_prefix=key_prefix, retention=retention)
        made.append(writer)
        if filled:
            writer.positions()
            writer.filled((0, 1))
        return writer

    yield make
    for writer in made:
        writer.close()


@pytest.fixture
async def make_store(
    key_prefix: str, clock: ManualClock, metrics: Metrics
) -> AsyncIterator[MakeStore]:
    made: list[RedisFeatureStore] = []

    def make(url: str, **settings: Any) -> RedisFeatureStore:
        defaults: dict[str, Any] = {
            "key_prefix": key_prefix,
            "timeout_s": 20.0,  # bounds failure alone: the machine may be busy
            "connections_max": 8,
            "cached_posts_max": 1_000,
            "user_days": 365,
            "clock": clock,
            "metrics": metrics,
        }
        made.append(RedisFeatureStore(url, **{**defaults, **settings}))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.RedisCluster]:
    if not redis.available():
        pytest.skip(redis.HOW_TO_GET_IT)
    with redis.RedisCluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started
