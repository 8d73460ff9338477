"""Which post lies in which row, and which rows a search may see: a snapshot without a copy.

Every row carries the number of the change that brought it and of the change that took it away. A
search takes the number of the newest change as its snapshot and sees the rows born by then and not
gone by then; so it needs no lock while it reads, and a batch of inserts or removals counts as a
whole. The row of a post that went is given to another only when no search can see it any more.

A search waits for nobody. Writers wait for one another, and for a search only if every post were
replaced while it runs.

N rows, n posts of one call, F facts of a row.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numba
import numpy as np
from numpy.typing import NDArray

from phoenix.index.id_map import NOWHERE, put, row_of, table_length, take_out
from phoenix.index.memory import reserve
from phoenix.index.search import Ids, IndexFullError

Rows = NDArray[np.int64]
Facts = NDArray[np.uint64]

POST, AUTHOR, CREATED, BORN, GONE, FACTS = 0, 1, 2, 3, 4, 5
NEVER = np.uint64(2**64 - 1)
# Rows reserved for each post that may be held: those of posts that went during a search wait for
# its end. A writer that uses up even these, all posts replaced during one search, waits too.
_ROWS_A_POST = 2
_WAIT_SECONDS_MAX = 60.0  # a search takes milliseconds; one that takes a minute is stuck


class RowTable:
    """Rows of posts, by id, for searches that see a snapshot and writers that do not stop them."""

    def __init__(
        self, posts_max: int, on_free: Callable[[Rows], None], *, rows_max: int | None = None
    ) -> None:
        """`on_free` is told of rows that no search can see any more; `rows_max` may be fewer."""
        self._posts_max = posts_max
        self._on_free = on_free
        self.rows_max = rows_max or _ROWS_A_POST * posts_max
        self.facts: Facts = reserve((self.rows_max, FACTS), np.uint64)
        length = table_length(posts_max)
        self._keys, self._slots = reserve((length,), np.uint64), reserve((length,), np.int32)
        self._free: Rows = reserve((self.rows_max,), np.int64)  # a stack
        self._n_free = 0
        self._gone: deque[tuple[int, Rows]] = deque()  # (change that took them away, rows)
        self._posts = 0
        self._size = 0  # rows ever used
        self._snapshot = 1  # the newest change
        self._searches: dict[int, int] = {}  # snapshot -> searches that look at it
        self._state = threading.Condition()  # of the two above; held for microseconds

    def __len__(self) -> int:
        return self._posts

    @property
    def size(self) -> int:
        """Rows ever used; those behind have never been written."""
        return self._size

    @property
    def memory_bytes(self) -> int:
        """Bytes of the facts that are used and of the map from id to row."""
        return self._size * FACTS * 8 + self._keys.nbytes + self._slots.nbytes

    @contextmanager
    def snapshot(self) -> Iterator[tuple[int, int]]:
        """The newest change and the number of rows; what it sees stays in its rows meanwhile."""
        with self._state:
            snapshot, size = self._snapshot, self._size
            self._searches[snapshot] = self._searches.get(snapshot, 0) + 1
        try:
            yield snapshot, size
        finally:
            with self._state:
                self._searches[snapshot] -= 1
                if self._searches[snapshot] == 0:
                    del self._searches[snapshot]
                    self._state.notify_all()

    def visible_rows(self) -> Rows:
        """Rows of every post held, ascending."""
        with self.snapshot() as (snapshot, size):
            facts = self.facts[:size]
            seen = (facts[:, BORN] <= snapshot) & (np.uint64(snapshot) < facts[:, GONE])
            return np.flatnonzero(seen)

    def rows_of(self, post_ids: Ids) -> Rows:
        """The row of each post, or NOWHERE. For a writer."""
        return _rows_of(self._keys, self._slots, post_ids)

    def reclaim(self) -> None:
        """Frees the rows that no search sees any more."""
        with self._state:
            oldest = min(self._searches, default=self._snapshot)
        ready = []
        while self._gone and self._gone[0][0] <= oldest:
            ready.append(self._gone.popleft()[1])
        if not ready:
            return
        rows = np.concatenate(ready)
        self.facts[rows, BORN] = NEVER
        self._on_free(rows)
        self._free[self._n_free : self._n_free + len(rows)] = rows
        self._n_free += len(rows)

    def check_room(self, post_ids: Ids) -> None:
        """Raises IndexFullError when more posts than the limit would be held."""
        unique = np.unique(post_ids)
        fresh = len(unique) - int((self.rows_of(unique) != NOWHERE).sum())
        if self._posts + fresh > self._posts_max:
            raise IndexFullError(
                f"the index holds its limit of {self._posts_max} posts; raise index_posts_max"
            )

    def place(self, post_ids: Ids) -> Rows:
        """A free row for each post, unseen until `publish`; an id given twice has one row.

        Raises IndexFullError, with nothing changed, when more posts than the limit would be held.
        """
        self.check_room(post_ids)
        unique = np.unique(post_ids)
        free = self._take(len(unique))
        self.facts[free, BORN] = NEVER
        return free[np.searchsorted(unique, post_ids)]

    def publish(
        self, rows: Rows, post_ids: Ids, author_ids: Ids, created_ms: NDArray[np.int64]
    ) -> None:
        """Shows `rows` of `place` to later searches, and hides the rows that they replace."""
        facts = self.facts
        facts[rows, POST], facts[rows, AUTHOR] = post_ids, author_ids
        facts[rows, CREATED] = created_ms.view(np.uint64)
        facts[rows, GONE] = NEVER
        old = _replace(self._keys, self._slots, post_ids, rows)
        self._posts += len(np.unique(rows)) - len(old)
        facts[rows, BORN] = self._snapshot + 1
        self._hide(old)

    def remove(self, post_ids: Ids) -> int:
        """Hides posts from later searches; how many were here."""
        old = _remove(self._keys, self._slots, post_ids)
        self._posts -= len(old)
        self._hide(old)
        return len(old)

    def _hide(self, rows: Rows) -> None:
        """Ends a change: from now on searches see it."""
        self.facts[rows, GONE] = self._snapshot + 1
        if len(rows):
            self._gone.append((self._snapshot + 1, rows))
        with self._state:
            self._snapshot += 1

    def _take(self, n: int) -> Rows:
        """`n` rows that no search sees: used ones first."""
        self.reclaim()
        while self._n_free + self.rows_max - self._size < n:
            self._wait_for_a_search()
            self.reclaim()
        left = max(0, self._n_free - n)
        reused = self._free[left : self._n_free].copy()
        more = n - len(reused)
        self._n_free = left
        with self._state:
            self._size += more
        return np.concatenate([reused, np.arange(self._size - more, self._size)])

    def _wait_for_a_search(self) -> None:
        """Until searches that see rows of posts that went have ended."""
        oldest = self._gone[0][0] if self._gone else self._snapshot
        with self._state:
            ended = self._state.wait_for(
                lambda: min(self._searches, default=oldest) >= oldest, _WAIT_SECONDS_MAX
            )
        if not ended:
            raise IndexFullError(
                f"a search has held on to rows for {_WAIT_SECONDS_MAX:g} seconds; is it stuck?"
            )


@numba.njit(nogil=True, cache=True)
def _rows_of(keys: Ids, slots: NDArray[np.int32], post_ids: Ids) -> Rows:
    rows = np.empty(len(post_ids), np.int64)
    for at, post_id in enumerate(post_ids):
        rows[at] = row_of(keys, slots, post_id)
    return rows


@numba.njit(nogil=True, cache=True)
def _replace(keys: Ids, slots: NDArray[np.int32], post_ids: Ids, rows: Rows) -> Rows:
    """Maps ids to rows; the rows that they had before."""
    old = np.empty(len(rows), np.int64)
    found = 0
    for post_id, row in zip(post_ids, rows):  # noqa: B905 - numba's zip takes no more
        before = row_of(keys, slots, post_id)
        if before not in (NOWHERE, row):  # not twice in one call
            old[found] = before
            found += 1
        put(keys, slots, post_id, row)
    return old[:found]


@numba.njit(nogil=True, cache=True)
def _remove(keys: Ids, slots: NDArray[np.int32], post_ids: Ids) -> Rows:
    """Forgets ids; the rows that they had."""
    old = np.empty(len(post_ids), np.int64)
    found = 0
    for post_id in post_ids:
        before = row_of(keys, slots, post_id)
        if before != NOWHERE:
            old[found] = before
            found += 1
            take_out(keys, slots, post_id)
    return old[:found]
