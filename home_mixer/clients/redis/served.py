"""Served history and request cache on Redis, written by home_mixer itself.

A sorted set a viewer: post → when it was served last, bounded by count. No marker is asked for:
these come from no topic, and a lost history costs the viewer a repeated post.
"""

from __future__ import annotations

from typing import Any

from home_mixer.clients.embedded_served import (
    SERVED_PER_VIEWER_MAX,
    decode_request,
    encode_request,
)
from home_mixer.clients.keys import id_keys, ids_of
from home_mixer.clients.protocols import Ids, RequestInfo
from home_mixer.clients.redis.cluster import Command
from home_mixer.clients.redis.connection import RedisConnection
from home_mixer.clients.redis.errors import store_error
from home_mixer.clients.redis.keys import KeySchema
from home_mixer.clients.redis.scripts import ADD_MEMBERS, PUT_NEWER

SERVED, REQUEST = "served", "request"
SERVED_TTL_MS = 3 * 86_400_000  # the served window is minutes; days leave room to ask why


class RedisServedStore:
    """`ServedHistoryStore` and `RequestCache`."""

    def __init__(self, connection: RedisConnection, keys: KeySchema) -> None:
        self._connection = connection
        self._keys = keys

    async def served_since(self, viewer_id: int, since_ms: int, limit: int) -> Ids:
        """Newest first."""
        key = self._keys.user(SERVED, viewer_id)
        window = ("ZRANGE", key, "+inf", since_ms, "BYSCORE", "REV", "LIMIT", 0, limit)
        members: list[bytes | memoryview] = await self._one(window)
        return ids_of(members)

    async def add_served(self, viewer_id: int, post_ids: Ids, served_at_ms: int) -> None:
        """Idempotent."""
        if post_ids.shape[0] == 0:
            return
        newest = id_keys(post_ids[-SERVED_PER_VIEWER_MAX:])
        pairs = [word for post_id in newest for word in (served_at_ms, post_id)]
        key = self._keys.user(SERVED, viewer_id)
        limits = (SERVED_PER_VIEWER_MAX, SERVED_TTL_MS)
        await self._one(("EVAL", ADD_MEMBERS, 1, key, *limits, *pairs))

    async def put_request(self, viewer_id: int, info: RequestInfo) -> None:
        """Newest wins."""
        key = self._keys.user(REQUEST, viewer_id)
        value = encode_request(info)
        await self._one(("EVAL", PUT_NEWER, 1, key, info.served_at_ms, value, SERVED_TTL_MS))

    async def get_request(self, viewer_id: int) -> RequestInfo | None:
        """None: nothing served yet."""
        value = await self._one(("GET", self._keys.user(REQUEST, viewer_id)))
        return None if value is None else decode_request(value)

    async def _one(self, command: Command) -> Any:
        (reply,) = await self._connection.run([command])
        if isinstance(reply, Exception):
            raise store_error(self._connection.place, reply)
        return reply
