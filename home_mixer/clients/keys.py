"""Keys of the embedded store: fixed width, big endian, so that byte order is number order.

posts, profiles, keywords, served, requests: id. edges: kind, user. actions: user, time, post,
action: an event's key is the event, hence idempotent, and a user's newest ones lie together.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from home_mixer.clients.protocols import Ids
from service_kit.partitions import keys_of

ID_BYTES = 8
_ID = struct.Struct(">Q")
_EDGE = struct.Struct(">BQ")
_EDGE_FIELDS = np.dtype([("kind", "u1"), ("user_id", ">u8")])
_ACTION = struct.Struct(">QqQB")
_POSITION = struct.Struct(">I")


def id_key(number: int) -> bytes:
    """Key of one id."""
    return _ID.pack(number)


def id_keys(ids: Ids) -> list[bytes]:
    """Keys of ids [B]: those of events, too."""
    return keys_of(ids)


def ids_of(keys: Sequence[bytes | memoryview]) -> Ids:
    """The inverse of `id_keys`."""
    return np.frombuffer(b"".join(keys), ">u8").astype(np.uint64)


def edge_key(kind: int, user_id: int) -> bytes:
    """Key of a user's edges of one kind."""
    return _EDGE.pack(kind, user_id)


def edge_keys(kind: int, user_ids: Ids) -> list[bytes]:
    """Keys of the users' [B] edges of one kind."""
    both = np.empty(user_ids.shape[0], _EDGE_FIELDS)
    both["kind"], both["user_id"] = kind, user_ids
    keys: list[bytes] = both.view(f"V{_EDGE_FIELDS.itemsize}").tolist()
    return keys


def action_key(user_id: int, acted_at_ms: int, post_id: int, action: int) -> bytes:
    """Key of one action; times are never negative."""
    return _ACTION.pack(user_id, acted_at_ms, post_id, action)


def position_key(topic: str, partition: int) -> bytes:
    """Key of a log position."""
    return _POSITION.pack(partition) + topic.encode()


def position_of(key: bytes) -> tuple[str, int]:
    """The inverse of `position_key`."""
    return key[_POSITION.size :].decode(), int(_POSITION.unpack(key[: _POSITION.size])[0])
