"""Every recent post in memory: insert, delete, undelete, trim, and the query of who I follow.

Concurrency: a readers–writer lock. Queries run side by side on threads (their kernels release the
interpreter lock); ingestion and trimming write alone, a few posts at a time, so that no query waits
long for them: a query sees each event wholly or not at all, and of a batch perhaps the beginning.
Arrays grow beside the old ones while queries go on. A snapshot holds back writers only.

What a viewer can see depends only on the events and the time, never on arrival order or on when
trimming ran: a post shows iff it was created within the retention and is due, and the newest of
its deletes and undeletes (a tie is a delete) leaves it alive. At ``posts_max`` the oldest posts
leave first; creates as old as those are refused from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service_kit.clock import Clock
from thunder import id_map, layout, query_kernels, segments, write_kernels
from thunder.layout import State
from thunder.query_scratch import COUNT_NAMES, COUNTS, SCANNED, Limits, Scratch, new_scratch
from thunder.rwlock import ReadWriteLock
from thunder.write_kernels import OUTCOMES

MINUTE_MS: Final = 60_000
FUTURE_TOLERANCE_MS: Final = MINUTE_MS  # clocks of posting machines; beyond it a time is an error
RETENTION_MS: Final = 172_800_000  # two days: x-algorithm, post_retention_seconds
ORIGINALS_PER_AUTHOR_MAX: Final = 50  # x-algorithm, MAX_ORIGINAL_POSTS_PER_AUTHOR
SECONDARY_PER_AUTHOR_MAX: Final = 30  # x-algorithm, MAX_REPLY_POSTS_PER_AUTHOR
VIDEOS_PER_AUTHOR_MAX: Final = 100  # x-algorithm, MAX_VIDEO_POSTS_PER_AUTHOR
EVICTED_SHARE_BITS: Final = 6  # at capacity 1/64 of the posts leave at once, so it is rare
# Between two chances for readers, about 50 µs each (2026-11-22, two cores):
WRITTEN_AT_ONCE: Final = 64  # posts or statuses
TRIMMED_AT_ONCE: Final = 128  # posts that a trim drops
TRIM_AUTHORS: Final = 1 << 12  # author slots that a trim looks at
QUERY_AUTHORS: Final = 1 << 10  # authors a query walks between two looks at its deadline

Statuses = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Query:
    """``following_ids`` [F] and ``excluded_ids`` [X] uint64, each at most INPUT_LIST_MAX."""

    viewer_id: int
    following_ids: NDArray[np.uint64]
    excluded_ids: NDArray[np.uint64]
    results_max: int
    videos: bool = False
    originals_per_author_max: int = ORIGINALS_PER_AUTHOR_MAX
    secondary_per_author_max: int = SECONDARY_PER_AUTHOR_MAX
    videos_per_author_max: int = VIDEOS_PER_AUTHOR_MAX


@dataclass(frozen=True, slots=True)
class Found:
    """Posts [N] newest first, equal times by larger id; flags [N] (layout.REPLY …)."""

    posts: NDArray[np.void]
    flags: NDArray[np.uint8]
    partial: bool
    authors_scanned: int
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class StoreSizes:
    """What the store holds; ``bytes_in_use`` counts its own arrays."""

    posts: int
    dead_posts: int
    authors: int
    originals: int
    secondary: int
    videos: int
    tombstones: int
    posts_max: int
    bytes_in_use: int


class PostStore:
    """Safe to call from any thread."""

    def __init__(
        self,
        clock: Clock,
        *,
        posts_max: int,
        retention_ms: int = RETENTION_MS,
        future_tolerance_ms: int = FUTURE_TOLERANCE_MS,
    ) -> None:
        """Raises ValueError for limits below 1."""
        if posts_max < 1 or retention_ms < 1 or future_tolerance_ms < 0:
            raise ValueError(
                f"posts_max {posts_max}, retention_ms {retention_ms}, future_tolerance_ms "
                f"{future_tolerance_ms}: expected at least 1, 1 and 0"
            )
        self._clock = clock
        self.retention_ms: Final = retention_ms
        self._future_ms = future_tolerance_ms
        self.posts_max: Final = posts_max
        self._state: State = layout.new_state(posts_max)
        self._lock = ReadWriteLock()
        self._one_writer = threading.Lock()
        self._scratches: list[Scratch] = []
        self._scratches_lock = threading.Lock()
        self.evicted_posts = 0  # since the start, because memory was full

    def insert(self, posts: NDArray[np.void], flags: NDArray[np.uint8]) -> dict[str, int]:
        """Inserts posts [n] of dtype ``layout.ROW`` with flags [n]; returns outcome → count."""
        outcomes = np.zeros(posts.size, np.uint8)

        def kernel(begin: int, end: int, now_ms: int) -> tuple[int, int]:
            cutoff_ms, latest_ms = now_ms - self.retention_ms, now_ms + self._future_ms
            result: tuple[int, int] = write_kernels.insert_posts(
                self._state, posts, flags, begin, end, cutoff_ms, latest_ms, outcomes
            )
            return result

        self._write(kernel, posts.size)
        return _count(outcomes)

    def apply_statuses(self, statuses: Statuses) -> dict[str, int]:
        """Applies (post_ids [n], event times in ms [n], 1 = delete / 0 = undelete [n])."""
        post_ids, times_ms, dead = statuses
        outcomes = np.zeros(post_ids.size, np.uint8)

        def kernel(begin: int, end: int, now_ms: int) -> tuple[int, int]:
            cutoff_ms, latest_ms = now_ms - self.retention_ms, now_ms + self._future_ms
            result: tuple[int, int] = write_kernels.apply_statuses(
                self._state, post_ids, times_ms, dead, begin, end, cutoff_ms, latest_ms, outcomes
            )
            return result

        self._write(kernel, post_ids.size)
        return _count(outcomes)

    def trim(self) -> int:
        """Drops what is older than the retention; returns how many posts. Readers and ingestion
        get in between slices of authors."""
        cutoff_ms = self._clock.now_ms() - self.retention_ms
        slot = dropped = 0
        while slot < self._number(layout.AUTHORS_USED):
            with self._one_writer:
                slot, posts = self._trim_slice(slot, cutoff_ms, cutoff_ms)
            dropped += posts
        with self._one_writer:
            self._expire_tombstones(cutoff_ms)
        return dropped

    def query(self, query: Query, out_of_time: Callable[[], bool] = lambda: False) -> Found:
        """The newest posts of the followed authors. ``out_of_time`` is asked between slices of
        authors; once True the rest is left out and ``partial`` is set."""
        scratch = self._take_scratch()
        try:
            with self._lock.reading():
                return self._run(query, scratch, out_of_time)
        finally:
            with self._scratches_lock:
                self._scratches.append(scratch)

    def sizes(self) -> StoreSizes:
        with self._lock.reading():
            numbers = self._state.numbers
            return StoreSizes(
                posts=int(numbers[layout.POSTS]),
                dead_posts=int(numbers[layout.DEAD_POSTS]),
                authors=int(numbers[layout.AUTHORS]),
                originals=int(numbers[layout.ENTRIES + layout.ORIGINALS]),
                secondary=int(numbers[layout.ENTRIES + layout.SECONDARY]),
                videos=int(numbers[layout.ENTRIES + layout.VIDEOS]),
                tombstones=int(numbers[layout.TOMBSTONES]),
                posts_max=self.posts_max,
                bytes_in_use=layout.bytes_in_use(self._state),
            )

    @contextmanager
    def frozen(self) -> Iterator[State]:
        """The state, whole between two batches; writers wait meanwhile and queries do not."""
        with self._one_writer:
            yield self._state

    def adopt(self, state: State) -> None:
        """Takes over a state that was read from a snapshot."""
        with self._one_writer, self._lock.writing():
            self._state = state

    def _run(self, query: Query, scratch: Scratch, out_of_time: Callable[[], bool]) -> Found:
        limits = self._limits(query)
        posts = np.empty(query.results_max, layout.ROW)
        flags = np.empty(query.results_max, np.uint8)
        authors, done, found = query_kernels.start(
            self._state,
            scratch,
            limits,
            query.following_ids,
            query.excluded_ids,
            query.videos,
            0 if out_of_time() else QUERY_AUTHORS,
            posts,
            flags,
        )
        while found < 0:
            done = self._walk(query, scratch, limits, done, authors, out_of_time)
            found = query_kernels.answer(
                self._state, scratch, limits, done == authors, posts, flags
            )
            done = done if found >= 0 else 0
        counts = dict(zip(COUNT_NAMES, scratch.counts[SCANNED:COUNTS].tolist(), strict=True))
        return Found(posts[:found], flags[:found], done < authors, done, counts)

    def _walk(
        self,
        query: Query,
        scratch: Scratch,
        limits: Limits,
        done: int,
        authors: int,
        out_of_time: Callable[[], bool],
    ) -> int:
        """Walks the authors from ``done`` on until time is out; returns how many were walked."""
        while done < authors and not out_of_time():
            end = min(authors, done + QUERY_AUTHORS)
            query_kernels.scan_authors(self._state, scratch, limits, done, end, query.videos)
            done = end
        return done

    def _limits(self, query: Query) -> Limits:
        now_ms = self._clock.now_ms()
        status_cutoff_ms = now_ms - self.retention_ms
        cutoff_ms = max(status_cutoff_ms, self._number(layout.FLOOR_MS) + 1)
        return Limits(
            viewer_id=np.uint64(query.viewer_id),
            now_ms=now_ms,
            cutoff_ms=cutoff_ms,
            status_cutoff_ms=status_cutoff_ms,
            originals_max=query.originals_per_author_max,
            secondary_max=query.secondary_per_author_max,
            videos_max=query.videos_per_author_max,
            results_max=query.results_max,
        )

    def _take_scratch(self) -> Scratch:
        with self._scratches_lock:
            if self._scratches:
                return self._scratches.pop()
        return new_scratch()

    def _number(self, index: int) -> int:
        return int(self._state.numbers[index])

    def _write(self, kernel: Callable[[int, int, int], tuple[int, int]], size: int) -> None:
        """Runs a resumable kernel to its end, making room whenever it stops."""
        now_ms = self._clock.now_ms()
        with self._one_writer:
            at = 0
            while at < size:
                with self._lock.writing():
                    code, at = kernel(at, min(size, at + WRITTEN_AT_ONCE), now_ms)
                self._make_room(code, now_ms)
            self._bound_tombstones()

    def _make_room(self, code: int, now_ms: int) -> None:
        if code == write_kernels.GROW_POSTS:
            self._grow_index("post_slots", "rows", "post_id", layout.ROWS_USED)
        elif code == write_kernels.GROW_AUTHORS:
            self._grow_index("author_slots", "authors", "author_id", layout.AUTHORS_USED)
        elif code == write_kernels.GROW_TOMBSTONES:
            self._grow_tombstones()
        elif code == write_kernels.GROW_ARENA:
            self._compact()
        elif code == write_kernels.EVICT:
            self._evict(now_ms)

    def _swap(self, **arrays: NDArray[Any]) -> None:
        """Puts what was made beside the old arrays, while queries went on, in their place."""
        with self._lock.writing():
            self._state = self._state._replace(**arrays)

    def _grow_index(self, name: str, table: str, id_name: str, used: int) -> None:
        slots = getattr(self._state, name)
        larger = layout.zeros(2 * slots.size, slots.dtype)
        ids = getattr(self._state, table)[: self._number(used)][id_name]
        id_map.index_rows(ids, larger)
        self._swap(**{name: larger})

    def _grow_tombstones(self) -> None:
        keys, values = self._state.tomb_keys, self._state.tomb_values
        fresh = np.zeros(2 * keys.size, np.uint64), np.zeros(2 * keys.size, np.int64)
        id_map.rehash(keys, values, *fresh)
        self._swap(tomb_keys=fresh[0], tomb_values=fresh[1])

    def _compact(self) -> None:
        """Copies the segments tightly into a fresh arena, larger where half would not be free."""
        state, used = self._state, self._number(layout.AUTHORS_USED)
        needed = 2 * int(state.authors["length"][:used].sum()) + 4 * layout.SEGMENT_MIN
        entries = layout.zeros(max(state.entries.size, 2 * needed), layout.ENTRY)
        authors = layout.zeros(state.authors.size, layout.AUTHOR)
        authors[:used] = state.authors[:used]
        numbers = state.numbers.copy()
        numbers[layout.ARENA_USED] = segments.compact(state, authors[:used], entries)
        free_blocks = np.full_like(state.free_blocks, -1)
        self._swap(authors=authors, entries=entries, numbers=numbers, free_blocks=free_blocks)

    def _evict(self, now_ms: int) -> None:
        """Memory is full (so every row is in use): the oldest 1/64 leave, ties together."""
        created_ms = self._state.rows["created_at_ms"]
        count = max(1, created_ms.size >> EVICTED_SHARE_BITS)
        floor_ms = int(np.partition(created_ms, count - 1)[count - 1])
        with self._lock.writing():
            self._state.numbers[layout.FLOOR_MS] = floor_ms
        slot, status_cutoff_ms = 0, now_ms - self.retention_ms
        while slot < self._number(layout.AUTHORS_USED):
            slot, dropped = self._trim_slice(slot, floor_ms + 1, status_cutoff_ms)
            self.evicted_posts += dropped

    def _trim_slice(self, slot: int, cutoff_ms: int, status_cutoff_ms: int) -> tuple[int, int]:
        """Trims some authors from ``slot`` on; returns where to go on and how many posts left."""
        with self._lock.writing():
            before = self._number(layout.POSTS)
            slot = write_kernels.trim(
                self._state, slot, slot + TRIM_AUTHORS, cutoff_ms, status_cutoff_ms, TRIMMED_AT_ONCE
            )
            return slot, before - self._number(layout.POSTS)

    def _bound_tombstones(self) -> None:
        """At most as many statuses of unknown posts as posts; the oldest are forgotten."""
        excess = self._number(layout.TOMBSTONES) - max(self.posts_max, layout.MAP_SLOTS_MIN)
        if excess > 0:
            keys, values = self._state.tomb_keys, self._state.tomb_values
            unknown = values[(keys != 0) & (values & layout.STATUS_IN_STORE == 0)]
            times_ms = unknown >> layout.STATUS_TIME
            self._expire_tombstones(int(np.partition(times_ms, excess - 1)[excess - 1]) + 1)

    def _expire_tombstones(self, cutoff_ms: int) -> None:
        keys, values = self._state.tomb_keys, self._state.tomb_values
        in_store = values & layout.STATUS_IN_STORE != 0
        kept = (keys != 0) & (in_store | (values >> layout.STATUS_TIME >= cutoff_ms))
        count = int(kept.sum())
        if count == self._number(layout.STATUSES):
            return
        slots = max(layout.MAP_SLOTS_MIN, 1 << (4 * count).bit_length())
        fresh = np.zeros(slots, np.uint64), np.zeros(slots, np.int64)
        id_map.rehash(keys * kept, values, *fresh)
        numbers = self._state.numbers.copy()
        numbers[layout.STATUSES] = count
        numbers[layout.TOMBSTONES] = int((kept & ~in_store).sum())
        self._swap(tomb_keys=fresh[0], tomb_values=fresh[1], numbers=numbers)


def _count(outcomes: NDArray[np.uint8]) -> dict[str, int]:
    counts = np.bincount(outcomes, minlength=len(OUTCOMES))
    return {name: int(n) for name, n in zip(OUTCOMES, counts, strict=True) if n}
