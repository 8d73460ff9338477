"""home_mixer's side of Redis: one round trip a call, a deadline on each, errors in words.

Opened at the first call, so that home_mixer starts and serves while Redis is away; whether it is
a cluster is asked then. A call that is given up costs its connection, never the pool.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import Counter, Histogram
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from home_mixer.clients.protocols import StoreError
from home_mixer.clients.redis import cluster
from home_mixer.clients.redis.cluster import Command
from home_mixer.clients.redis.errors import place_of, store_errors
from service_kit.metrics import Metrics

CONNECT_SHARE = 0.5  # of a call's time: a host that swallows packets leaves time to say so
NODE_SHARE = 0.6  # for one node of a cluster: time is left to ask who took its place
RETRIES = 1  # a connection that died while idle shows it at its next use
CLUSTER_SCHEME = "+cluster"


@dataclass(frozen=True, slots=True)
class RedisMetrics:
    """Those of one process's connection to Redis."""

    round_trips: Counter
    seconds: Histogram
    failures: Counter
    refresh_failures: Counter

    @staticmethod
    def of(metrics: Metrics) -> RedisMetrics:
        """Those of ``metrics``, made at the first use."""
        return metrics.once("redis", RedisMetrics._make)

    @staticmethod
    def _make(metrics: Metrics) -> RedisMetrics:
        return RedisMetrics(
            metrics.counter("redis_round_trips_total", "Calls of Redis that were answered"),
            metrics.histogram("redis_seconds", "Time of one call of Redis"),
            metrics.counter("redis_failures_total", "Calls of Redis that failed"),
            metrics.counter("redis_refresh_failures_total", "Times to live not renewed by a read"),
        )


class RedisConnection:
    """Shared by all stores of one process; not by several event loops."""

    def __init__(
        self, url: str, *, timeout_s: float, connections_max: int, metrics: Metrics
    ) -> None:
        """``timeout_s``: longest time of one call, connecting included."""
        self._url = url
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(connections_max)
        self._metrics = RedisMetrics.of(metrics)
        self._opening = asyncio.Lock()
        self._client: Redis | RedisCluster | None = None
        self.place = place_of(url)

    async def mget(self, keys: Sequence[str], buckets: Sequence[int]) -> list[bytes | None]:
        """Values of ``keys`` [K] in their order; keys of one bucket share a slot."""
        if not keys:
            return []
        async with self._call() as client:
            if isinstance(client, RedisCluster):
                return await _mget_by_bucket(client, keys, buckets)
            (values,) = await _pipelined(client, [("MGET", *keys)])
            if isinstance(values, Exception):
                raise values
            return cast(list[bytes | None], values)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Replies in order, each command's own refusal among them as an exception."""
        async with self._call() as client:
            return await _pipelined(client, commands)

    async def close(self) -> None:
        """Closes every connection."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[Redis | RedisCluster]:
        """The client, for one round trip. Raises `StoreError` for all that goes wrong."""
        with self._metrics.seconds.time():
            try:
                with store_errors(self.place):
                    async with asyncio.timeout(self._timeout_s), self._turns:
                        yield await self._opened()
            except StoreError:
                self._metrics.failures.inc()
                raise
        self._metrics.round_trips.inc()

    async def _opened(self) -> Redis | RedisCluster:
        async with self._opening:
            if self._client is None:
                self._client = await self._open()
            return self._client

    async def _open(self) -> Redis | RedisCluster:
        options = self._options()
        plain_url = self._url.replace(CLUSTER_SCHEME, "", 1)
        if plain_url == self._url:
            client = Redis.from_url(self._url, **options)
            try:
                info = await client.info("cluster")
            except BaseException:
                await client.aclose()
                raise
            if not info.get("cluster_enabled"):
                return client
            await client.aclose()
        one_node_s = self._timeout_s * NODE_SHARE
        return RedisCluster.from_url(plain_url, **{**options, "socket_timeout": one_node_s})

    def _options(self) -> dict[str, Any]:
        return {
            "socket_timeout": self._timeout_s,
            "socket_connect_timeout": self._timeout_s * CONNECT_SHARE,
            "retry": Retry(NoBackoff(), RETRIES, supported_errors=(RedisConnectionError,)),
        }


async def _mget_by_bucket(
    client: RedisCluster, keys: Sequence[str], buckets: Sequence[int]
) -> list[bytes | None]:
    rows: dict[int, list[int]] = defaultdict(list)
    for row, bucket in enumerate(buckets):
        rows[bucket].append(row)
    values: list[bytes | None] = [None] * len(keys)
    commands = [("MGET", *[keys[row] for row in of_bucket]) for of_bucket in rows.values()]
    replies = await _pipelined(client, commands)
    for of_bucket, reply in zip(rows.values(), replies, strict=True):
        if isinstance(reply, Exception):
            raise reply
        for row, value in zip(of_bucket, reply, strict=True):
            values[row] = value
    return values


async def _pipelined(client: Redis | RedisCluster, commands: Sequence[Command]) -> list[Any]:
    if isinstance(client, RedisCluster):
        return await cluster.pipelined(client, commands)
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)
