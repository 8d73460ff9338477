"""The embedded feature store: one directory, two LMDB environments, every client and the writer.

``ingested`` is written by the ingester, ``served`` by home_mixer; both may be read by anyone.
Each class below opens one of the two for one process (`EmbeddedFeatureStore` opens both).
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from home_mixer.clients.embedded_actions import (
    ACTION_COUNTS,
    ACTIONS,
    EmbeddedActionStore,
    write_actions,
)
from home_mixer.clients.embedded_changes import CHANGES, log_changes
from home_mixer.clients.embedded_posts import POSTS, EmbeddedPostStore, trim_posts, write_posts
from home_mixer.clients.embedded_served import LAST_USED, REQUESTS, SERVED, EmbeddedServedStore
from home_mixer.clients.embedded_users import (
    EDGES,
    KEYWORDS,
    PROFILES,
    EmbeddedUserStore,
    write_users,
)
from home_mixer.clients.keys import position_key, position_of
from home_mixer.clients.lmdb_directory import MAP_BYTES_DEFAULT, LmdbDirectory, Transaction
from home_mixer.clients.protocols import FeatureClients, StoreError
from home_mixer.clients.reader_threads import THREADS_DEFAULT, ReaderThreads
from home_mixer.clients.writes import FeatureBatch, Positions

POSITIONS = "positions"
INGESTED_DATABASES = (
    POSTS,
    CHANGES,
    PROFILES,
    EDGES,
    KEYWORDS,
    ACTIONS,
    ACTION_COUNTS,
    POSITIONS,
)
SERVED_DATABASES = (SERVED, REQUESTS, LAST_USED)

_OFFSET = struct.Struct("<Q")


class EmbeddedFeatureWriter:
    """`FeatureWriter` on LMDB: a batch and its log positions in one transaction.

    Calls from several threads run one after the other; `close` waits for the one under way.
    """

    def __init__(self, ingested: LmdbDirectory) -> None:
        self._ingested = ingested
        self._turn = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, directory: Path, *, map_bytes: int = MAP_BYTES_DEFAULT) -> EmbeddedFeatureWriter:
        """The writer of a store directory, for a process that does nothing else with it."""
        path = directory / "ingested"
        return cls(LmdbDirectory(path, INGESTED_DATABASES, map_bytes=map_bytes))

    def apply(self, batch: FeatureBatch, positions: Positions) -> None:
        """Store rows and positions together, or neither."""
        with self._writing() as txn:
            log_changes(txn, write_posts(txn, batch))
            write_users(txn, batch)
            write_actions(txn, batch)
            for (topic, partition), offset in positions.items():
                txn.put(POSITIONS, position_key(topic, partition), _OFFSET.pack(offset))

    def positions(self) -> dict[tuple[str, int], int]:
        """Positions stored by the last `apply`."""
        with self._ingested.read() as txn:
            return {
                position_of(bytes(key)): _OFFSET.unpack(value)[0]
                for key, value in txn.cursor(POSITIONS)
            }

    def trim(self, first_post_id: int, rows_max: int) -> int:
        """Forget posts with smaller ids."""
        with self._writing() as txn:
            gone = trim_posts(txn, first_post_id, rows_max)
            if gone:
                log_changes(txn, gone)
            return len(gone)

    def check(self) -> None:
        """Nothing: a committed transaction is not lost but with its whole directory."""

    def filled(self, share: tuple[int, int]) -> bool:
        """True: readers are not kept out of a directory that is being filled."""
        return True

    def warnings(self) -> list[str]:
        """None: there is no server."""
        return []

    def size_bytes(self) -> int:
        """Bytes of the map in use."""
        return self._ingested.size_bytes()

    def close(self) -> None:
        """Releases the directory; later calls are refused with StoreError."""
        with self._turn:
            self._closed = True
            self._ingested.close()

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with self._turn:
            if self._closed:
                raise StoreError(f"{self._ingested.path}: the store has been closed")
            with self._ingested.write() as txn:
                yield txn


class EmbeddedFeatureStore:
    """Clients and writer over one directory."""

    def __init__(
        self,
        directory: Path,
        *,
        map_bytes: int = MAP_BYTES_DEFAULT,
        threads: int = THREADS_DEFAULT,
    ) -> None:
        self._threads = ReaderThreads(threads)
        path = directory / "ingested"
        self._ingested = LmdbDirectory(path, INGESTED_DATABASES, map_bytes=map_bytes)
        path = directory / "served"
        self._served = LmdbDirectory(path, SERVED_DATABASES, map_bytes=map_bytes)
        self.writer = EmbeddedFeatureWriter(self._ingested)

    def clients(self) -> FeatureClients:
        """Every protocol."""
        posts = EmbeddedPostStore(self._ingested, self._threads)
        users = EmbeddedUserStore(self._ingested, self._threads)
        served = EmbeddedServedStore(self._served, self._threads)
        return FeatureClients(
            posts=posts,
            visibility=posts,
            profiles=users,
            graph=users,
            actions=EmbeddedActionStore(self._ingested, self._threads),
            served=served,
            requests=served,
        )

    def close(self) -> None:
        """Waits for reads under way and releases the directory."""
        self._threads.close()
        self.writer.close()
        self._served.close()
