"""One LMDB environment: opening, format version, transactions and errors in words.

Several processes may open one directory; LMDB's own lock lets one of them write at a time, and
readers never wait. Pages are used only as data arrives, so a large map costs address space alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from home_mixer.clients.protocols import StoreError, StoreFormatError, StoreFullError

FORMAT = b"foryou-features/1"  # bump when a key or value layout changes meaning
FORMAT_KEY = b"format"
READERS_MAX = 512  # read transactions of all processes together
MAP_BYTES_DEFAULT = 16 << 30  # sparse: the file grows with the data, not to this size


class LmdbDirectory:
    """Named databases in one directory; closed with `close`.

    Raises `StoreFormatError` for another format, `StoreFullError` and `StoreError` from
    transactions. LMDB forbids opening one directory twice within a process.
    """

    def __init__(
        self, path: Path, databases: Sequence[str], *, map_bytes: int = MAP_BYTES_DEFAULT
    ) -> None:
        self.path = path
        self._map_bytes = map_bytes
        path.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self._env: Any = lmdb.open(
                str(path),
                map_size=map_bytes,
                max_dbs=len(databases) + 1,
                max_readers=READERS_MAX,
                metasync=False,  # a power cut may undo the last transaction, never tear it
            )
            self._env.reader_check()
            self._check_format()
            self._databases = {name: self._env.open_db(name.encode()) for name in databases}

    def _check_format(self) -> None:
        with self._env.begin() as txn:
            found = txn.get(FORMAT_KEY)
        if found is None:
            with self._env.begin(write=True) as txn:
                if txn.stat()["entries"] == 0:
                    txn.put(FORMAT_KEY, FORMAT)
                found = txn.get(FORMAT_KEY)
        if found != FORMAT:
            self._env.close()
            raise StoreFormatError(
                f"{self.path} holds format {found!r} but this version reads {FORMAT!r}; "
                "use another directory, or delete this one and let the ingester fill it again"
            )

    @contextmanager
    def read(self, *, views: bool = False) -> Iterator[Transaction]:
        """A consistent snapshot. Values are bytes, which is faster for many small ones; with
        ``views`` they are memoryviews that die with the transaction, and nothing is copied."""
        with self._errors(), self._begin(write=False, buffers=views) as txn:
            yield Transaction(txn, self._databases)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Committed at the end, undone by an exception; waits for another writer's end."""
        with self._errors(), self._begin(write=True, buffers=False) as txn:
            yield Transaction(txn, self._databases)

    def _begin(self, *, write: bool, buffers: bool) -> Any:
        try:
            return self._env.begin(write=write, buffers=buffers)
        except lmdb.MapResizedError:  # another process was given a larger map
            self._env.set_mapsize(0)
            return self._env.begin(write=write, buffers=buffers)

    def size_bytes(self) -> int:
        """Bytes in use, up to the newest page ever used."""
        return int(self._env.info()["last_pgno"] * self._env.stat()["psize"])

    def close(self) -> None:
        """Releases the directory; transactions must have ended."""
        self._env.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except lmdb.MapFullError as error:
            raise StoreFullError(
                f"{self.path}: the map of {self._map_bytes:,} bytes is full; raise "
                "feature_map_bytes (HOME_MIXER__FEATURE_MAP_BYTES, INGESTER__FEATURE_MAP_BYTES) "
                "or shorten post_retention_hours"
            ) from error
        except lmdb.DiskError as error:
            raise StoreFullError(f"{self.path}: the disk is full or failing: {error}") from error
        except (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError) as error:
            raise StoreFormatError(f"{self.path} is no feature store: {error}") from error
        except lmdb.Error as error:
            if "No space left" in str(error):
                raise StoreFullError(f"{self.path}: no space left on the disk") from error
            raise StoreError(f"{self.path}: {error}") from error


class Transaction:
    """An LMDB transaction with its databases by name."""

    def __init__(self, txn: Any, databases: dict[str, Any]) -> None:
        self._txn = txn
        self._databases = databases

    def number(self) -> int:
        """Of the transaction whose commit this one sees as the last; of a writing one its own.
        LMDB counts commits of a directory without gaps."""
        return int(self._txn.id())

    def get(self, database: str, key: bytes) -> Any:
        """The value, or None."""
        return self._txn.get(key, db=self._databases[database])

    def put(self, database: str, key: bytes, value: bytes, *, overwrite: bool = True) -> bool:
        """False: the key exists and ``overwrite`` is off."""
        done = self._txn.put(key, value, db=self._databases[database], overwrite=overwrite)
        return bool(done)

    def delete(self, database: str, key: bytes) -> bool:
        """False: there was no such key."""
        return bool(self._txn.delete(key, db=self._databases[database]))

    def cursor(self, database: str) -> Any:
        """An LMDB cursor over one database."""
        return self._txn.cursor(db=self._databases[database])

    def get_many(self, database: str, keys: Sequence[bytes]) -> list[tuple[Any, Any]]:
        """(key, value) of those ``keys`` that exist, in the order asked."""
        pairs: list[tuple[Any, Any]] = self.cursor(database).getmulti(keys)
        return pairs
