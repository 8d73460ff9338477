"""Every feature store of one deployment on Redis, behind one connection."""

from __future__ import annotations

from home_mixer.clients.protocols import FeatureClients
from home_mixer.clients.redis.actions import RedisActionStore
from home_mixer.clients.redis.connection import RedisConnection, RedisMetrics
from home_mixer.clients.redis.content_cache import ContentCache
from home_mixer.clients.redis.keys import KeySchema
from home_mixer.clients.redis.posts import RedisPostStore
from home_mixer.clients.redis.reader import RedisReader
from home_mixer.clients.redis.served import RedisServedStore
from home_mixer.clients.redis.users import RedisUserStore
from service_kit.clock import Clock
from service_kit.metrics import Metrics


class RedisFeatureStore:
    """home_mixer's side; nothing is asked of Redis before the first call."""

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str,
        timeout_s: float,
        connections_max: int,
        cached_posts_max: int,
        user_days: int,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        keys = KeySchema(key_prefix)
        self._connection = RedisConnection(
            url, timeout_s=timeout_s, connections_max=connections_max, metrics=metrics
        )
        reader = RedisReader(self._connection, keys)
        cache = ContentCache(cached_posts_max, metrics)
        self._posts = RedisPostStore(reader, cache)
        self._users = RedisUserStore(
            reader, user_days=user_days, clock=clock, metrics=RedisMetrics.of(metrics)
        )
        self._actions = RedisActionStore(reader)
        self._served = RedisServedStore(self._connection, keys)

    def clients(self) -> FeatureClients:
        """Every protocol."""
        return FeatureClients(
            posts=self._posts,
            visibility=self._posts,
            profiles=self._users,
            graph=self._users,
            actions=self._actions,
            served=self._served,
            requests=self._served,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._connection.close()
