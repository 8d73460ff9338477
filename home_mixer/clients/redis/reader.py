"""Reads that know whether what they read is whole: each brings its buckets' markers along.

The ingester marks a bucket once everything that the log holds is in it. Where the marker is
missing, Redis is new or was emptied; where it says "filling", the ingester is at work. Either way
an absent block or delete would prove nothing, so the read fails instead of answering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from home_mixer.clients.protocols import StoreError
from home_mixer.clients.redis.cluster import Command
from home_mixer.clients.redis.connection import RedisConnection
from home_mixer.clients.redis.errors import store_error
from home_mixer.clients.redis.keys import KeySchema, bucket_of

READY = b"ready"


class RedisReader:
    """What the ingested stores read through."""

    def __init__(self, connection: RedisConnection, keys: KeySchema) -> None:
        self._connection = connection
        self.keys = keys

    async def values(self, keys: Sequence[str], buckets: Sequence[int]) -> list[bytes | None]:
        """Values of ``keys`` [K], which lie in ``buckets`` [K]; one round trip."""
        touched = sorted(set(buckets))
        markers = [self.keys.markers[bucket] for bucket in touched]
        found = await self._connection.mget([*markers, *keys], [*touched, *buckets])
        self._check(found[: len(touched)])
        return found[len(touched) :]

    async def of_user(self, user_id: int, *commands: Command) -> list[Any]:
        """Replies to commands on keys of one user; one round trip."""
        marker = ("GET", self.keys.markers[bucket_of(user_id)])
        replies = await self._connection.run([marker, *commands])
        self._check(replies[:1])
        return replies

    async def of_user_checked(self, user_id: int, *commands: Command) -> list[Any]:
        """As `of_user`, without the marker's reply; any refusal raises `StoreError`."""
        replies = await self.of_user(user_id, *commands)
        return [self.reply(reply) for reply in replies[1:]]

    def reply(self, reply: Any) -> Any:
        """The reply itself; `StoreError` for a refusal."""
        if isinstance(reply, Exception):
            raise store_error(self._connection.place, reply)
        return reply

    def _check(self, markers: Sequence[Any]) -> None:
        for marker in markers:
            if self.reply(marker) is None:
                raise StoreError(
                    f"{self._connection.place} holds no features under "
                    f"{self.keys.prefix}: no ingester has filled it yet, or it was emptied; "
                    "the ingester notices and fills it again"
                )
            if not marker.startswith(READY):
                raise StoreError(
                    f"{self._connection.place} is being filled by the ingester; its lag says how "
                    "much is left"
                )
