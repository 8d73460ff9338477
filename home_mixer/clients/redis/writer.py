"""The ingester's writer: rows first, then the positions behind them.

Redis has no transaction over several slots, so a crash between the two repeats rows; every law is
idempotent. Each value is replaced by one atomic step, or read and merged again where somebody
else was faster, so several ingesters may write at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

from home_mixer.clients.protocols import StoreError
from home_mixer.clients.redis.cluster import Command
from home_mixer.clients.redis.keys import KeySchema
from home_mixer.clients.redis.link import RedisLink
from home_mixer.clients.redis.rows import Retention, ValueRow, member_commands, value_rows
from home_mixer.clients.redis.scripts import REPLACE
from home_mixer.clients.redis.state import StoreState
from home_mixer.clients.writes import FeatureBatch, Positions

MERGES_MAX = 20  # of one value, each lost to another writer: more is a fault


class RedisFeatureWriter:
    """`FeatureWriter` on Redis. Calls run one after the other, on whatever thread."""

    def __init__(self, url: str, *, key_prefix: str, retention: Retention) -> None:
        self._link = RedisLink(url)
        self._keys = KeySchema(key_prefix)
        self._retention = retention
        self._state = StoreState(self._link, self._keys, retention.users_ms)
        self._turn = threading.Lock()

    def apply(self, batch: FeatureBatch, positions: Positions) -> None:
        """Store rows, then positions. `StoreError`: do it again; `StoreLostError`: resume."""
        with self._turn:
            if not self._state.known:
                self._state.load()
            self._merge(value_rows(batch, self._keys, self._retention))
            self._link.run(member_commands(batch, self._keys, self._retention))
            self._state.advance(positions)

    def positions(self) -> dict[tuple[str, int], int]:
        """Stored positions; none where Redis is new or has lost anything."""
        with self._turn:
            return self._state.load()

    def trim(self, first_post_id: int, rows_max: int) -> int:
        """0: Redis forgets by itself. The markers and the state live on for it."""
        with self._turn:
            self._state.keep()
        return 0

    def check(self) -> None:
        """`StoreLostError` where Redis has lost what it had acknowledged."""
        with self._turn:
            if self._state.known:
                self._state.check()

    def filled(self, share: tuple[int, int]) -> bool:
        """Share i of n holds all that its log holds; true once readers are let in."""
        with self._turn:
            return self._state.filled(share)

    def warnings(self) -> list[str]:
        """What the operator should change about this Redis."""
        policies = sorted(self._link.eviction_policies())
        return [
            f"{self._link.place}: maxmemory-policy is {policy}, which may evict blocks and deletes "
            "when memory is full; CONFIG SET maxmemory-policy noeviction"
            for policy in policies
        ]

    def size_bytes(self) -> int:
        """Bytes that Redis uses, for whatever purpose."""
        return self._link.used_bytes()

    def close(self) -> None:
        """Cuts the call under way short, which nobody will miss, and closes the connections."""
        self._link.end()
        with self._turn:
            self._link.close()

    def _merge(self, rows: Sequence[ValueRow]) -> None:
        for _ in range(MERGES_MAX):
            if not rows:
                return
            rows = self._merge_once(rows)
        raise StoreError(
            f"{self._link.place}: {len(rows)} values changed under every one of {MERGES_MAX} "
            f"merges, such as {rows[0].key}; is something else writing under this prefix?"
        )

    def _merge_once(self, rows: Sequence[ValueRow]) -> list[ValueRow]:
        """Reads, merges and replaces; returns the rows that somebody else has changed meanwhile."""
        values = self._link.mget([row.key for row in rows], [row.bucket for row in rows])
        changed: list[ValueRow] = []
        commands: list[Command] = []
        for row, old in zip(rows, values, strict=True):
            new = row.merge(old)
            if new != old:
                changed.append(row)
                commands.append(_write(row, old, new))
        replies = self._link.run(commands)
        return [row for row, reply in zip(changed, replies, strict=True) if not reply]


def _write(row: ValueRow, old: bytes | None, new: bytes) -> Command:
    if old is None:
        return ("SET", row.key, new, "PX", row.ttl_ms, "NX")
    digest = hashlib.sha1(old, usedforsecurity=False).hexdigest()
    return ("EVAL", REPLACE, 1, row.key, digest, new, row.ttl_ms)
