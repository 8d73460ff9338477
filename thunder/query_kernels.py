"""Compiled reads: walk the followed authors newest first, apply the rules, keep the newest K.

The K best so far are a heap; once it is full, an author's walk ends at the first entry that is
older than its oldest, which is exact because segments are in time order. Each query thread brings
its own scratch, whose sets are emptied by counting an epoch up.

Rules (behaviour of x-algorithm thunder, January 2026): newest first; excluded and dead posts use
up nothing; at most SCAN_MAX of the others are looked at; reposts of the viewer's posts and of
deleted posts are dropped; a reply needs a parent that is an original, or one that itself replies
to the conversation's root while the replied-to user is followed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thunder import id_map
from thunder.compiled import helper, kernel
from thunder.layout import (
    DEAD,
    HIDDEN,
    NO_ROW,
    ORIGINALS,
    REPLY,
    REPOST,
    SECONDARY,
    VIDEO,
    VIDEOS,
)

INPUT_LIST_MAX: Final = 10_000  # x-algorithm, MAX_INPUT_LIST_SIZE
RESULTS_MAX: Final = 10_000  # results of one query; the heap of a query thread
SCAN_MAX: Final = 500  # x-algorithm, MAX_TINY_POSTS_PER_USER_SCAN
SET_SLOTS: Final = 1 << 15  # holds INPUT_LIST_MAX ids less than a third full

# Places in ``Scratch.counts``.
FOUND: Final = 0
SCANNED: Final = 1
UNKNOWN_PARENT: Final = 2
PARENT_NOT_FOLLOWED: Final = 3
OWN_REPOSTS: Final = 4
DEAD_SOURCES: Final = 5
EXCLUDED: Final = 6
ENTRIES_SEEN: Final = 7
COUNTS: Final = 8


class Scratch(NamedTuple):
    """Working memory of one query at a time."""

    follow_keys: NDArray[np.uint64]  # [SET_SLOTS]
    follow_epochs: NDArray[np.uint32]
    exclude_keys: NDArray[np.uint64]
    exclude_epochs: NDArray[np.uint32]
    epoch: NDArray[np.uint32]  # [1]
    authors: NDArray[np.uint64]  # [INPUT_LIST_MAX] followed ids without duplicates
    heap_ms: NDArray[np.int64]  # [RESULTS_MAX]
    heap_ids: NDArray[np.uint64]
    heap_rows: NDArray[np.int32]
    counts: NDArray[np.int64]  # [COUNTS]


class Limits(NamedTuple):
    """What one query asks for; all numbers int64 but the viewer (uint64)."""

    viewer_id: np.uint64
    now_ms: np.int64
    cutoff_ms: np.int64  # posts created before are gone
    status_cutoff_ms: np.int64  # statuses of posts not in the store before are forgotten
    originals_max: np.int64  # per author
    secondary_max: np.int64
    videos_max: np.int64
    results_max: np.int64


def new_scratch() -> Scratch:
    return Scratch(
        follow_keys=np.zeros(SET_SLOTS, np.uint64),
        follow_epochs=np.zeros(SET_SLOTS, np.uint32),
        exclude_keys=np.zeros(SET_SLOTS, np.uint64),
        exclude_epochs=np.zeros(SET_SLOTS, np.uint32),
        epoch=np.zeros(1, np.uint32),
        authors=np.zeros(INPUT_LIST_MAX, np.uint64),
        heap_ms=np.zeros(RESULTS_MAX, np.int64),
        heap_ids=np.zeros(RESULTS_MAX, np.uint64),
        heap_rows=np.zeros(RESULTS_MAX, np.int32),
        counts=np.zeros(COUNTS, np.int64),
    )


@helper
def set_add(keys: Any, epochs: Any, epoch: Any, key: Any) -> Any:
    """Adds ``key``; False where it was there already."""
    slot = id_map.home(keys, key)
    while epochs[slot] == epoch:
        if keys[slot] == key:
            return False
        slot = (slot + 1) & (keys.size - 1)
    keys[slot] = key
    epochs[slot] = epoch
    return True


@helper
def set_has(keys: Any, epochs: Any, epoch: Any, key: Any) -> Any:
    slot = id_map.home(keys, key)
    while epochs[slot] == epoch:
        if keys[slot] == key:
            return True
        slot = (slot + 1) & (keys.size - 1)
    return False


@kernel
def prepare(scratch: Scratch, following: Any, excluded: Any) -> Any:
    """Starts a query; returns how many different authors it names."""
    scratch.counts[:] = 0
    scratch.epoch[0] += np.uint32(1)
    if scratch.epoch[0] == 0:  # wrapped: what is marked could be taken for fresh
        scratch.follow_epochs[:] = 0
        scratch.exclude_epochs[:] = 0
        scratch.epoch[0] = 1
    epoch = scratch.epoch[0]
    authors = 0
    for author in following:
        if set_add(scratch.follow_keys, scratch.follow_epochs, epoch, author):
            scratch.authors[authors] = author
            authors += 1
    for post_id in excluded:
        set_add(scratch.exclude_keys, scratch.exclude_epochs, epoch, post_id)
    return authors


@kernel
def scan_authors(state: Any, scratch: Any, limits: Any, begin: Any, end: Any, videos: Any) -> None:
    """Walks the segments of the authors [begin, end) of the prepared query."""
    for i in range(begin, end):
        author_id = scratch.authors[i]
        at = id_map.find(state.author_keys, author_id) if author_id != 0 else -1
        if at < 0:
            continue
        slot = state.author_slots[at]
        if videos:
            scan_segment(state, scratch, limits, slot, VIDEOS, limits.videos_max)
        else:
            scan_segment(state, scratch, limits, slot, ORIGINALS, limits.originals_max)
            scan_segment(state, scratch, limits, slot, SECONDARY, limits.secondary_max)


@helper
def scan_segment(
    state: Any, scratch: Any, limits: Any, slot: Any, kind: Any, taken_max: Any
) -> None:
    first = state.starts[slot, kind] + state.heads[slot, kind]
    at = first + state.lengths[slot, kind] - 1
    counts = scratch.counts
    epoch = scratch.epoch[0]
    scanned = taken = 0
    while at >= first and taken < taken_max:
        created_ms, post_id, row = state.entry_ms[at], state.entry_ids[at], state.entry_rows[at]
        at -= 1
        if created_ms > limits.now_ms:
            continue  # not due yet
        if created_ms < limits.cutoff_ms or not enters(scratch, limits, created_ms, post_id):
            break
        counts[ENTRIES_SEEN] += 1
        if state.flags[row] & (DEAD | HIDDEN) != 0:
            continue
        if set_has(scratch.exclude_keys, scratch.exclude_epochs, epoch, post_id):
            counts[EXCLUDED] += 1
            continue
        if not showable(state, counts, limits, row, kind):
            continue
        if scanned == SCAN_MAX:
            break
        scanned += 1
        if passes(state, scratch, limits, row, kind):
            taken += 1
            push(scratch, limits, created_ms, post_id, row)
    counts[SCANNED] += scanned


@helper
def showable(state: Any, counts: Any, limits: Any, row: Any, kind: Any) -> Any:
    """False for reposts of deleted posts and, among videos, reposts of something else."""
    flags = state.flags[row]
    if flags & REPOST == 0:
        return True
    source = referred_row(state, row, state.rows[row].source_post_id, True)
    if source_dead(state, limits, source, state.rows[row].source_post_id):
        counts[DEAD_SOURCES] += 1
        return False
    if kind != VIDEOS or flags & VIDEO != 0:
        return True
    if source < 0 or not live(state, limits, source):
        return False
    return state.flags[source] & (VIDEO | REPLY) == VIDEO


@helper
def passes(state: Any, scratch: Any, limits: Any, row: Any, kind: Any) -> Any:
    """The rules that use up the scan window: reposts of the viewer, and replies."""
    flags = state.flags[row]
    post = state.rows[row]
    if flags & REPOST != 0 and post.source_user_id == limits.viewer_id:
        scratch.counts[OWN_REPOSTS] += 1
        return False
    if kind != SECONDARY or flags & REPLY == 0:
        return True
    parent = referred_row(state, row, post.in_reply_to_post_id, flags & REPOST == 0)
    if parent < 0 or not live(state, limits, parent):
        scratch.counts[UNKNOWN_PARENT] += 1
        return False
    if state.flags[parent] & (REPLY | REPOST) == 0:
        return True
    root = post.conversation_id
    kept = (
        root != 0
        and state.rows[parent].in_reply_to_post_id == root
        and set_has(
            scratch.follow_keys,
            scratch.follow_epochs,
            scratch.epoch[0],
            post.in_reply_to_user_id,
        )
    )
    if not kept:
        scratch.counts[PARENT_NOT_FOLLOWED] += 1
    return kept


@helper
def referred_row(state: Any, row: Any, post_id: Any, hinted: Any) -> Any:
    """Row of the post that ``row`` refers to; −1 where it is not in the store."""
    if post_id == 0:
        return NO_ROW
    hint = state.reference[row] if hinted else NO_ROW
    if hint >= 0 and state.rows[hint].post_id == post_id:
        return np.int64(hint)
    at = id_map.find(state.post_keys, post_id)
    return np.int64(state.post_rows[at]) if at >= 0 else NO_ROW


@helper
def live(state: Any, limits: Any, row: Any) -> Any:
    """In the store as far as a viewer can tell: not dead, due and within retention."""
    created_ms = state.rows[row].created_at_ms
    in_time = limits.cutoff_ms <= created_ms and created_ms <= limits.now_ms
    return in_time and state.flags[row] & DEAD == 0


@helper
def source_dead(state: Any, limits: Any, source: Any, source_id: Any) -> Any:
    """Whether a reposted post is deleted, also where only its tombstone is known."""
    if source >= 0:
        known = (
            state.rows[source].created_at_ms >= limits.cutoff_ms
            or state.status_ms[source] >= limits.status_cutoff_ms
        )
        return known and state.flags[source] & DEAD != 0
    if source_id == 0:
        return False
    at = id_map.find(state.tomb_keys, source_id)
    if at < 0:
        return False
    status = state.tomb_values[at]
    return status & 1 == 1 and status >> 1 >= limits.status_cutoff_ms


@helper
def older(scratch: Any, a: Any, b: Any) -> Any:
    """Heap order: smaller time first, then smaller id."""
    if scratch.heap_ms[a] != scratch.heap_ms[b]:
        return scratch.heap_ms[a] < scratch.heap_ms[b]
    return scratch.heap_ids[a] < scratch.heap_ids[b]


@helper
def enters(scratch: Any, limits: Any, created_ms: Any, post_id: Any) -> Any:
    """Whether a post could be among the newest K found so far."""
    if scratch.counts[FOUND] < limits.results_max:
        return True
    if created_ms != scratch.heap_ms[0]:
        return created_ms > scratch.heap_ms[0]
    return post_id > scratch.heap_ids[0]


@helper
def push(scratch: Any, limits: Any, created_ms: Any, post_id: Any, row: Any) -> None:
    """Adds a post that enters; the oldest leaves a full heap."""
    found = scratch.counts[FOUND]
    full = found == limits.results_max
    at = 0 if full else found
    scratch.heap_ms[at], scratch.heap_ids[at], scratch.heap_rows[at] = created_ms, post_id, row
    if full:
        sift_down(scratch, 0, found)
        return
    scratch.counts[FOUND] = found + 1
    while at > 0 and older(scratch, at, (at - 1) // 2):
        swap(scratch, at, (at - 1) // 2)
        at = (at - 1) // 2


@helper
def sift_down(scratch: Any, at: Any, size: Any) -> None:
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        if child + 1 < size and older(scratch, child + 1, child):
            child += 1
        if not older(scratch, child, at):
            return
        swap(scratch, child, at)
        at = child


@helper
def swap(scratch: Any, a: Any, b: Any) -> None:
    ms, ids, rows = scratch.heap_ms, scratch.heap_ids, scratch.heap_rows
    ms[a], ms[b] = ms[b], ms[a]
    ids[a], ids[b] = ids[b], ids[a]
    rows[a], rows[b] = rows[b], rows[a]


@kernel
def newest_first(scratch: Any) -> Any:
    """Sorts what was found (heap sort in place) and returns how many there are."""
    found = scratch.counts[FOUND]
    for size in range(found - 1, 0, -1):
        swap(scratch, 0, size)
        sift_down(scratch, 0, size)
    return found
