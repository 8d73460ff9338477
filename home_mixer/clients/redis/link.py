"""The ingester's side of Redis: blocking, in large pipelines, on a thread of its own.

Whether it is a cluster is asked at the first call. Every wait ends: a Redis that hangs is a
`StoreError`, and the batch is tried again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from home_mixer.clients.protocols import StoreError
from home_mixer.clients.redis.cluster import Command, pipelined_blocking
from home_mixer.clients.redis.connection import CLUSTER_SCHEME, RETRIES
from home_mixer.clients.redis.errors import place_of, store_error, store_errors

TIMEOUT_S = 2.0  # of one answer; a part of a batch takes some 20 ms
CONNECT_TIMEOUT_S = 1.0
KEYS_PER_READ = 1_000  # of lists that may have megabytes
COMMANDS_PER_WRITE = 1_000
NO_EVICTION = "noeviction"


class RedisLink:
    """Thread-safe."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opening = threading.Lock()
        self._client: Redis | RedisCluster | None = None
        self._ending = False
        self.place = place_of(url)

    def mget(self, keys: Sequence[str], buckets: Sequence[int]) -> list[bytes | None]:
        """Values of ``keys`` [K] in their order; keys of one bucket share a slot."""
        with store_errors(self.place):
            clustered = isinstance(self._opened(), RedisCluster)
        values: list[bytes | None] = []
        for start in range(0, len(keys), KEYS_PER_READ):
            part = slice(start, start + KEYS_PER_READ)
            if clustered:
                values += self._mget_by_bucket(keys[part], buckets[part])
            else:
                values += self.run([("MGET", *keys[part])])[0]
        return values

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """Replies in order. Raises `StoreError` when one is refused; others may be done then."""
        replies: list[Any] = []
        with store_errors(self.place):
            client = self._opened()
            for start in range(0, len(commands), COMMANDS_PER_WRITE):
                self._go_on()
                replies += _pipelined(client, commands[start : start + COMMANDS_PER_WRITE])
        for reply in replies:
            if isinstance(reply, Exception):
                raise store_error(self.place, reply)
        return replies

    def eviction_policies(self) -> set[str]:
        """What each master does when its memory is full, where it may do anything but refuse."""
        found = {str(info.get("maxmemory_policy", NO_EVICTION)) for info in self._memory()}
        return found - {NO_EVICTION}

    def used_bytes(self) -> int:
        """Memory in use, of all masters together."""
        return sum(int(info.get("used_memory", 0)) for info in self._memory())

    def end(self) -> None:
        """From any thread: the call under way fails at its next part, later ones at once."""
        self._ending = True

    def close(self) -> None:
        """Closes every connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _go_on(self) -> None:
        if self._ending:
            raise StoreError(f"{self.place}: the store has been closed")

    def _memory(self) -> list[dict[str, Any]]:
        with store_errors(self.place):
            client = self._opened()
            if isinstance(client, RedisCluster):
                found = client.info("memory", target_nodes=RedisCluster.PRIMARIES)
                return list(found.values())
            return [client.info("memory")]

    def _mget_by_bucket(self, keys: Sequence[str], buckets: Sequence[int]) -> list[bytes | None]:
        rows: dict[int, list[int]] = defaultdict(list)
        for row, bucket in enumerate(buckets):
            rows[bucket].append(row)
        replies = self.run([("MGET", *[keys[row] for row in some]) for some in rows.values()])
        values: list[bytes | None] = [None] * len(keys)
        for some, reply in zip(rows.values(), replies, strict=True):
            for row, value in zip(some, reply, strict=True):
                values[row] = value
        return values

    def _opened(self) -> Redis | RedisCluster:
        with self._opening:
            if self._client is None:
                self._client = self._open()
            return self._client

    def _open(self) -> Redis | RedisCluster:
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry": Retry(NoBackoff(), RETRIES, supported_errors=(RedisConnectionError,)),
        }
        plain_url = self._url.replace(CLUSTER_SCHEME, "", 1)
        if plain_url == self._url:
            client = Redis.from_url(self._url, **options)
            try:
                clustered = client.info("cluster").get("cluster_enabled")
            except BaseException:
                client.close()
                raise
            if not clustered:
                return client
            client.close()
        return RedisCluster.from_url(plain_url, **options)


def _pipelined(client: Redis | RedisCluster, commands: Sequence[Command]) -> list[Any]:
    if isinstance(client, RedisCluster):
        return pipelined_blocking(client, commands)
    pipeline: Any = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return list(pipeline.execute(raise_on_error=False))
