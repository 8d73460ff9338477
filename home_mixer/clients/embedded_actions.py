"""Actions on LMDB: one key an action, so an event stored twice is stored once.

A user's actions are neighbours ordered by time: the newest are one backward walk. A counter per
user says when the oldest must go: at a quarter above the bound they are cut back to it.
"""

from __future__ import annotations

import struct
from collections import defaultdict

import numpy as np

from home_mixer.clients.keys import action_key, id_key
from home_mixer.clients.lmdb_directory import LmdbDirectory, Transaction
from home_mixer.clients.protocols import ActionRows
from home_mixer.clients.reader_threads import ReaderThreads
from home_mixer.clients.writes import FeatureBatch

ACTIONS, ACTION_COUNTS = "actions", "action_counts"
ACTIONS_PER_USER_MAX = 4096  # four a post for 1,024 posts, the original's sequence length

_VALUE = struct.Struct("<fBQ")
_COUNT = struct.Struct("<I")
_ROW = np.dtype(
    [
        ("user_id", ">u8"),
        ("acted_at_ms", ">i8"),
        ("post_id", ">u8"),
        ("action", "u1"),
        ("seconds", "<f4"),
        ("product_surface", "u1"),
        ("author_id", "<u8"),
    ]
)  # key and value of one action, side by side


class EmbeddedActionStore:
    """`ActionSequenceStore` on LMDB."""

    def __init__(self, directory: LmdbDirectory, threads: ReaderThreads) -> None:
        self._directory = directory
        self._threads = threads

    async def newest_actions(self, user_id: int, limit: int) -> ActionRows:
        """At most ``limit`` rows, oldest first."""
        return await self._threads.run(self._read, user_id, min(limit, ACTIONS_PER_USER_MAX))

    def _read(self, user_id: int, limit: int) -> ActionRows:
        prefix = id_key(user_id)
        parts: list[memoryview] = []
        with self._directory.read() as txn:
            cursor = txn.cursor(ACTIONS)
            if limit and _seek_newest(cursor, user_id):
                for key, value in cursor.iterprev():
                    if key[:8] != prefix:
                        break
                    parts += (key, value)
                    if len(parts) == 2 * limit:
                        break
            rows = np.frombuffer(b"".join(parts), _ROW)[::-1]
            parts.clear()
        return ActionRows(
            post_id=rows["post_id"].astype(np.uint64),
            author_id=rows["author_id"].astype(np.uint64),
            acted_at_ms=rows["acted_at_ms"].astype(np.int64),
            action=rows["action"].astype(np.uint8),
            product_surface=rows["product_surface"].astype(np.uint8),
            seconds=rows["seconds"].astype(np.float32),
        )


def _seek_newest(cursor: object, user_id: int) -> bool:
    """Place the cursor on the last key that is not beyond the user's; false: none."""
    beyond = id_key(user_id + 1) if user_id < 2**64 - 1 else None
    if beyond is not None and cursor.set_range(beyond):  # type: ignore[attr-defined]
        return bool(cursor.prev())  # type: ignore[attr-defined]
    return bool(cursor.last())  # type: ignore[attr-defined]


def write_actions(txn: Transaction, batch: FeatureBatch) -> None:
    """Store the batch's actions; of two that share a key the larger value stays."""
    added: dict[int, int] = defaultdict(int)
    rows = sorted(
        (action_key(user_id, *action[:3]), user_id, action[3:]) for user_id, action in batch.actions
    )
    for key, user_id, (author_id, surface, seconds) in rows:
        value = _VALUE.pack(seconds, surface, author_id)
        if txn.put(ACTIONS, key, value, overwrite=False):
            added[user_id] += 1
        elif _order(value) > _order(txn.get(ACTIONS, key)):
            txn.put(ACTIONS, key, value)
    for user_id, count in added.items():
        _bound(txn, user_id, count)


def _order(value: bytes) -> tuple[int, int, float]:
    seconds, surface, author_id = _VALUE.unpack(value)
    return author_id, surface, seconds


def _bound(txn: Transaction, user_id: int, added: int) -> None:
    key = id_key(user_id)
    stored = txn.get(ACTION_COUNTS, key)
    count = added + (_COUNT.unpack(stored)[0] if stored is not None else 0)
    if count > ACTIONS_PER_USER_MAX * 5 // 4:
        cursor = txn.cursor(ACTIONS)
        cursor.set_range(key)
        for _ in range(count - ACTIONS_PER_USER_MAX):
            cursor.delete()
        count = ACTIONS_PER_USER_MAX
    txn.put(ACTION_COUNTS, key, _COUNT.pack(count))
