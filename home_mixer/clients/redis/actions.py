"""Actions on Redis: a sorted set a user, scored by time, the whole action in the member.

An action stored twice is one member, and members of one time sort by post and action. Two that
differ in what they say of the same action are two members; a reader takes the larger.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.protocols import ActionRows
from home_mixer.clients.redis.reader import RedisReader
from home_mixer.clients.writes import Action

ACTIONS = "actions"
ACTIONS_PER_USER_MAX = 4096  # four a post for 1,024 posts, the original's sequence length
ACTIONS_TTL_MS = 90 * 86_400_000  # after the user's last action; the sequence is of recent ones
DIFFERING_MAX = 64  # more members read than asked for, in case that some differ in such a way

MEMBER = struct.Struct(">qQBQBf")  # time, post, action, author, surface, seconds
_MEMBER = np.dtype(
    [
        ("acted_at_ms", ">i8"),
        ("post_id", ">u8"),
        ("action", "u1"),
        ("author_id", ">u8"),
        ("product_surface", "u1"),
        ("seconds", ">f4"),
    ]
)


class RedisActionStore:
    """`ActionSequenceStore`."""

    def __init__(self, reader: RedisReader) -> None:
        self._reader = reader

    async def newest_actions(self, user_id: int, limit: int) -> ActionRows:
        """At most ``limit`` rows, oldest first."""
        wanted = min(limit, ACTIONS_PER_USER_MAX)
        if wanted <= 0:
            return _columns(np.zeros(0, _MEMBER))
        key = self._reader.keys.user(ACTIONS, user_id)
        newest = ("ZRANGE", key, -wanted - DIFFERING_MAX, -1)
        (members,) = await self._reader.of_user_checked(user_id, newest)
        rows = np.frombuffer(b"".join(members), _MEMBER)
        return _columns(_largest_of_each(rows)[-wanted:])


def member_of(action: Action) -> bytes:
    """The action as it is stored."""
    return MEMBER.pack(
        action.acted_at_ms,
        action.post_id,
        action.action,
        action.author_id,
        action.product_surface,
        action.seconds,
    )


def _largest_of_each(rows: NDArray[np.void]) -> NDArray[np.void]:
    """The last of rows that name one action; members are sorted, so it is the largest."""
    if rows.shape[0] == 0:
        return rows
    same = np.ones(rows.shape[0] - 1, np.bool_)
    for name in ("acted_at_ms", "post_id", "action"):
        same &= rows[name][1:] == rows[name][:-1]
    largest: NDArray[np.void] = rows[np.append(~same, True)]
    return largest


def _columns(rows: NDArray[np.void]) -> ActionRows:
    return ActionRows(
        post_id=rows["post_id"].astype(np.uint64),
        author_id=rows["author_id"].astype(np.uint64),
        acted_at_ms=rows["acted_at_ms"].astype(np.int64),
        action=rows["action"].astype(np.uint8),
        product_surface=rows["product_surface"].astype(np.uint8),
        seconds=rows["seconds"].astype(np.float32),
    )
