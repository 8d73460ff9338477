"""Stored posts that were read before, in a table of fixed size: rows are found by id at once.

Exactly what the store says, at any time: `RememberedPosts` looks at the store's log of changes
before it answers, so a post that is deleted or labelled is read anew by the next feed. A row's set
of four places follows from its id; of more than four posts of one set some are read again.
Glossary: B ids asked for, N rows of the table, W = 4 places of a set.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.columns import POST_HEADER
from home_mixer.clients.embedded_changes import changed_since
from home_mixer.clients.lmdb_directory import Transaction
from home_mixer.clients.protocols import Ids, Mask, Objects

ROWS_MAX: Final = 1 << 17  # as many as LastKnownPosts keeps, with which texts are shared; 16 MB
WAYS: Final = 4  # 32 bytes, half a cache line
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, random bits

Rows = NDArray[np.intp]


class Recalled(NamedTuple):
    """Of ids [B]: which are held, their headers and texts; zeros and "" where not."""

    held: Mask
    headers: NDArray[np.void]
    texts: Objects


class PostTable:
    """Headers and texts by post id; knows nothing of the store."""

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        """``rows_max``: a power of two, at least 8. ValueError otherwise."""
        if rows_max < 2 * WAYS or rows_max & (rows_max - 1):
            raise ValueError(f"rows_max is {rows_max}; expected a power of two from {2 * WAYS}")
        self._shift = np.uint64(64 - (rows_max // WAYS).bit_length() + 1)
        self._ids = np.zeros((rows_max // WAYS, WAYS), np.uint64)  # 0: an empty place
        self._headers = np.zeros(rows_max, POST_HEADER)
        self._texts = np.full(rows_max, "", object)

    def recall(self, ids: Ids) -> Recalled:
        """Copies; id 0, which is no post's, may be held as one that is not found."""
        held, at = self._find(ids)
        headers, texts = self._headers.take(at), self._texts.take(at)
        if not held.all():
            headers[~held] = np.zeros((), POST_HEADER)
            texts[~held] = ""
        return Recalled(held, headers, texts)

    def remember(self, ids: Ids, headers: NDArray[np.void], texts: Objects) -> None:
        """Rows of distinct ids other than 0 that are not held yet; others may have to give way."""
        held, _ = self._find(ids)  # by a thread that read them too: a post has one row
        ids, headers, texts = ids[~held], headers[~held], texts[~held]
        sets, mixed = self._sets(ids)
        empty = self._ids.take(sets, axis=0) == 0
        any_way = (mixed & np.uint64(WAYS - 1)).astype(np.intp)
        at = sets * WAYS + np.where(empty.any(axis=1), empty.argmax(axis=1), any_way)
        # Of two that chose the same place one stays: id, header and text of that one.
        _, first = np.unique(at, return_index=True)
        at = at[first]
        self._ids.reshape(-1)[at] = ids[first]
        self._headers[at], self._texts[at] = headers[first], texts[first]

    def forget(self, ids: Ids) -> None:
        """Those that are held are no more."""
        held, at = self._find(ids)
        self._empty(at[held])

    def clear(self) -> None:
        """Forgets all."""
        self._empty(np.flatnonzero(self._ids))

    def _empty(self, at: Rows) -> None:
        self._ids.reshape(-1)[at] = 0
        self._headers[at], self._texts[at] = np.zeros((), POST_HEADER), ""

    def _find(self, ids: Ids) -> tuple[Mask, Rows]:
        """(is it held, its row) of ids [B]; a row of its set where it is not."""
        sets, _ = self._sets(ids)
        hits = self._ids.take(sets, axis=0) == ids[:, None]
        ways = hits.argmax(axis=1)
        at = sets * WAYS + ways
        return self._ids.reshape(-1).take(at) == ids, at

    def _sets(self, ids: Ids) -> tuple[Rows, Ids]:
        mixed = ids * _MIX
        return (mixed >> self._shift).astype(np.intp), mixed


class RememberedPosts:
    """A `PostTable` that never says anything older than the transaction it is asked in.

    For several threads. A row is kept only where no newer transaction has been looked at since
    it was read: it might have changed in that one.
    """

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._table = PostTable(rows_max)
        self._turn = threading.Lock()
        self._seen = 0  # changes up to this transaction are known here

    def recall(self, txn: Transaction, ids: Ids) -> Recalled:
        """What is remembered of ids [B], as of the transaction's snapshot or newer."""
        with self._turn:
            self._catch_up(txn)
            return self._table.recall(ids)

    def remember(
        self, txn: Transaction, ids: Ids, headers: NDArray[np.void], texts: Objects
    ) -> None:
        """Rows as read in this transaction, of distinct ids."""
        with self._turn:
            if self._seen == txn.number():
                self._table.remember(ids, headers, texts)

    def _catch_up(self, txn: Transaction) -> None:
        changed = changed_since(txn, self._seen)
        if changed is None:
            self._table.clear()
        elif len(changed):
            self._table.forget(changed)
        self._seen = max(self._seen, txn.number())
