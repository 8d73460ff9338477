"""Served history and request cache on LMDB, in an environment of their own.

home_mixer writes here after each response; a second environment keeps that write from waiting
for the ingester's large transactions. Both are bounded: per viewer by count, over all viewers by
age: each write also removes a few of the longest unused viewers.

Writes that wait at the same time share one transaction: its end, which waits for the disk, costs
more than what it writes.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.keys import id_key
from home_mixer.clients.lmdb_directory import LmdbDirectory, Transaction
from home_mixer.clients.protocols import Ids, RequestInfo
from home_mixer.clients.reader_threads import ReaderThreads

SERVED, REQUESTS, LAST_USED = "served", "requests", "last_used"
SERVED_PER_VIEWER_MAX = 1_000
HOUR_MS = 3600 * 1000
VIEWER_RETENTION_MS = 24 * HOUR_MS  # the served window is minutes; a day leaves room to ask why
EXPIRED_PER_WRITE_MAX = 4  # more than one, so that expiry outruns arrival

_SERVED = np.dtype([("post_id", "<u8"), ("served_at_ms", "<i8")])
_REQUEST = struct.Struct("<qHH")
_USED = struct.Struct(">qQ")


@dataclass(slots=True)
class _Change:
    apply: Callable[[Transaction], None]
    is_done: bool = False
    error: Exception | None = None


class EmbeddedServedStore:
    """`ServedHistoryStore` and `RequestCache` on LMDB."""

    def __init__(self, directory: LmdbDirectory, threads: ReaderThreads) -> None:
        self._directory = directory
        self._threads = threads
        self._waiting: deque[_Change] = deque()  # the loop appends, the writing thread takes

    async def served_since(self, viewer_id: int, since_ms: int, limit: int) -> Ids:
        """Newest first."""
        return await self._threads.run(self._read_served, viewer_id, since_ms, limit)

    async def add_served(self, viewer_id: int, post_ids: Ids, served_at_ms: int) -> None:
        """Idempotent."""
        await self._write(partial(_add_served, viewer_id, post_ids, served_at_ms))

    async def put_request(self, viewer_id: int, info: RequestInfo) -> None:
        """Newest wins."""
        await self._write(partial(_put_request, viewer_id, info))

    async def get_request(self, viewer_id: int) -> RequestInfo | None:
        """None: nothing served yet."""
        return await self._threads.run(self._read_request, viewer_id)

    def _read_served(self, viewer_id: int, since_ms: int, limit: int) -> Ids:
        with self._directory.read() as txn:
            rows = _rows(txn, viewer_id)
            return rows["post_id"][rows["served_at_ms"] >= since_ms][:limit].astype(np.uint64)

    def _read_request(self, viewer_id: int) -> RequestInfo | None:
        with self._directory.read() as txn:
            value = txn.get(REQUESTS, id_key(viewer_id))
            return None if value is None else decode_request(bytes(value))

    async def _write(self, apply: Callable[[Transaction], None]) -> None:
        change = _Change(apply)
        self._waiting.append(change)
        await self._threads.write(self._commit, change)

    def _commit(self, change: _Change) -> None:
        """In the writing thread: with this change all that wait, unless it went with another."""
        if not change.is_done:
            self._commit_waiting()
        if change.error is not None:
            raise change.error

    def _commit_waiting(self) -> None:
        changes = [self._waiting.popleft() for _ in range(len(self._waiting))]
        error: Exception | None = None
        try:
            with self._directory.write() as txn:
                for change in changes:
                    change.apply(txn)
        except Exception as raised:  # noqa: BLE001 - each caller's to handle: see `_commit`
            error = raised
        for change in changes:
            change.is_done, change.error = True, error


def _add_served(viewer_id: int, post_ids: Ids, served_at_ms: int, txn: Transaction) -> None:
    newer = np.zeros(post_ids.shape[0], _SERVED)
    newer["post_id"], newer["served_at_ms"] = post_ids, served_at_ms
    rows = np.concatenate([_rows(txn, viewer_id), newer])
    rows = rows[np.lexsort((rows["post_id"], rows["served_at_ms"]))[::-1]]
    _, first = np.unique(rows["post_id"], return_index=True)
    rows = rows[np.sort(first)][:SERVED_PER_VIEWER_MAX]
    txn.put(SERVED, id_key(viewer_id), rows.tobytes())
    _expire(txn, viewer_id, served_at_ms)


def _put_request(viewer_id: int, info: RequestInfo, txn: Transaction) -> None:
    old = txn.get(REQUESTS, id_key(viewer_id))
    if old is None or info.served_at_ms >= decode_request(old).served_at_ms:
        txn.put(REQUESTS, id_key(viewer_id), encode_request(info))
    _expire(txn, viewer_id, info.served_at_ms)


def _rows(txn: Transaction, viewer_id: int) -> NDArray[np.void]:
    return np.frombuffer(txn.get(SERVED, id_key(viewer_id)) or b"", _SERVED)


def _expire(txn: Transaction, viewer_id: int, now_ms: int) -> None:
    """Note this hour's use, and remove viewers whose last use is too old."""
    txn.put(LAST_USED, _USED.pack(now_ms // HOUR_MS, viewer_id), b"")
    oldest_ms = now_ms - VIEWER_RETENTION_MS
    cursor = txn.cursor(LAST_USED)
    for _ in range(EXPIRED_PER_WRITE_MAX):
        if not cursor.first():
            return
        used_hour, expired_id = _USED.unpack(cursor.key())
        if (used_hour + 1) * HOUR_MS > oldest_ms:
            return
        cursor.delete()
        if _last_served_ms(txn, expired_id) < oldest_ms:
            txn.delete(SERVED, id_key(expired_id))
            txn.delete(REQUESTS, id_key(expired_id))


def _last_served_ms(txn: Transaction, viewer_id: int) -> int:
    rows = _rows(txn, viewer_id)
    request = txn.get(REQUESTS, id_key(viewer_id))
    newest = int(rows["served_at_ms"].max()) if rows.shape[0] else 0
    return max(newest, decode_request(request).served_at_ms if request else 0)


def encode_request(info: RequestInfo) -> bytes:
    """The stored value; it begins with the time."""
    request_id, params_hash = info.request_id.encode(), info.params_hash.encode()
    header = _REQUEST.pack(info.served_at_ms, len(request_id), len(params_hash))
    return header + request_id + params_hash + info.post_ids.astype("<u8").tobytes()


def decode_request(value: bytes) -> RequestInfo:
    """The inverse of `encode_request`."""
    served_at_ms, id_bytes, hash_bytes = _REQUEST.unpack_from(value)
    at = _REQUEST.size
    ids_at = at + id_bytes + hash_bytes
    return RequestInfo(
        request_id=value[at : at + id_bytes].decode(),
        served_at_ms=served_at_ms,
        params_hash=value[at + id_bytes : ids_at].decode(),
        post_ids=np.frombuffer(value, "<u8", offset=ids_at).astype(np.uint64),
    )
