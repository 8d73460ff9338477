"""Compiled reads: walk the followed authors newest first, apply the rules, keep the newest K.

An author's walk ends at the first entry that is too old to be among the newest K, which is exact
because segments are in time order. How old that is, a query first learns from a glance at its
authors' entries (`query_begin`); where that misleads (fewer than K turn up), it walks once more
to twice the age, and at last without a limit. What passes goes to a buffer that is sorted and cut
to K whenever it holds twice as many.

Memory, not arithmetic, is what a query waits for. So authors are taken in slices. Of a slice, what
its entries show to pass is found at once; what rules must read more of is *near*: its row is asked
for, a slice later what that refers to, and another slice later it is judged. That is exact as long
as a segment has no more near posts than its caps let through; one that may is walked post by post.
Each query thread brings its own scratch.

Order and caps (behaviour of x-algorithm thunder, January 2026): newest first; excluded and dead
posts use up nothing; at most SCAN_MAX of the others are looked at, and so many taken of each kind.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder.compiled import helper, kernel, prefetch
from thunder.layout import DEAD, HIDDEN, ORIGINALS, REPLY, REPOST, SECONDARY, VIDEOS
from thunder.query_begin import begin_again, perhaps_excluded, prepare
from thunder.query_rules import candidate, passes
from thunder.query_scratch import (
    ENTRIES_SEEN,
    FOUND,
    NEAR_MAX,
    NEAR_PER_SEGMENT,
    NEAR_SLICES,
    SCANNED,
    SLICE,
    WANTED,
)
from thunder.selection import NO_LIMIT_MS, keep_newest

SCAN_MAX: Final = 500  # x-algorithm, MAX_TINY_POSTS_PER_USER_SCAN
GATHER_AHEAD: Final = 16  # rows: as many reads as a core has under way


@kernel
def start(
    state: Any,
    scratch: Any,
    limits: Any,
    following: Any,
    excluded_ids: Any,
    videos: Any,
    authors_max: Any,
    posts: Any,
    flags: Any,
) -> Any:
    """Begins a query and walks ``authors_max`` of its authors at most, in one call, for each costs
    five microseconds. Returns how many different authors it names, how many are walked, and how
    many posts the answer has as `answer` says; −1 also where authors are left."""
    authors = prepare(state, scratch, limits, following, excluded_ids, videos)
    done = min(authors, authors_max)
    scan(state, scratch, limits, 0, done, videos)
    if done < authors:
        return authors, done, -1
    found = gather(state, scratch, limits, True, posts, flags)
    return authors, done if found >= 0 else 0, found


@kernel
def scan_authors(state: Any, scratch: Any, limits: Any, begin: Any, end: Any, videos: Any) -> None:
    """Walks the authors [begin, end) of the query."""
    scan(state, scratch, limits, begin, end, videos)


@kernel
def answer(state: Any, scratch: Any, limits: Any, complete: Any, posts: Any, flags: Any) -> Any:
    """Copies the newest K in order to ``posts`` [≥ K] ROW and ``flags``; returns how many they are.

    −1: of a complete walk fewer than K are left and its limit may be why; what was found is
    forgotten, and the authors are to be walked once more.
    """
    return gather(state, scratch, limits, complete, posts, flags)


@helper
def scan(state: Any, scratch: Any, limits: Any, begin: Any, end: Any, videos: Any) -> None:
    slices = (end - begin + SLICE - 1) // SLICE
    kind = VIDEOS if videos else SECONDARY
    collected = asked = 0  # near posts of the slice before, and of the one before that
    for number in range(slices + NEAR_SLICES - 1):
        first = begin + number * SLICE
        near = collect_slice(state, scratch, limits, first, min(end, first + SLICE), videos, number)
        ask_for_references(state, scratch, place_of(number - 1), collected)
        judge(state, scratch, limits, place_of(number - 2), asked, kind)
        asked, collected = collected, near


@helper
def place_of(number: Any) -> Any:
    """Where the near posts of a slice begin."""
    return (number + NEAR_SLICES) % NEAR_SLICES * NEAR_MAX


@helper
def collect_slice(
    state: Any, scratch: Any, limits: Any, first: Any, last: Any, videos: Any, number: Any
) -> Any:
    """Takes what is young enough of the authors [first, last); returns how many posts are near."""
    near = place_of(number)
    for i in range(first, last):
        slot = np.int64(scratch.slots[i])
        if slot < 0:
            continue
        if videos:
            near = collect(state, scratch, limits, slot, VIDEOS, limits.videos_max, near)
        else:
            near = collect(state, scratch, limits, slot, ORIGINALS, limits.originals_max, near)
            near = collect(state, scratch, limits, slot, SECONDARY, limits.secondary_max, near)
    return near - place_of(number)


@helper
def collect(
    state: Any, scratch: Any, limits: Any, slot: Any, kind: Any, taken_max: Any, near: Any
) -> Any:
    """Takes what is young enough of one segment: what its entries show to pass is found, the rest
    is put at ``near`` and asked for. Returns the end of the near."""
    author = state.authors[slot]
    first = author.first[kind]
    at = first + author.length[kind] - 1
    oldest_ms = max(limits.cutoff_ms, scratch.limit_ms[0])
    counts, end = scratch.counts, near
    found = counts[FOUND]
    left = min(taken_max, NEAR_PER_SEGMENT)
    seen = 0
    while at >= first:
        entry = state.entries[at]
        created_ms, mark, row = entry.created_ms, entry.mark, np.int64(entry.row)
        at -= 1
        if created_ms < oldest_ms:
            break
        if created_ms > limits.now_ms:
            continue  # not due yet
        seen += 1
        if mark & (DEAD | HIDDEN) != 0:
            continue
        if left == 0:  # caps may bite; what was taken here is forgotten
            walk(state, scratch, limits, slot, kind, taken_max)
            return near
        left -= 1
        if mark & (REPLY | REPOST) == 0 and not perhaps_excluded(scratch, mark):
            found = take(scratch, found, created_ms, row)
        else:
            prefetch(state.rows, row)
            prefetch(state.reference, row)
            put_near(scratch.near[end], created_ms, row, mark)
            end += 1
    counts[SCANNED] += found - counts[FOUND]
    counts[FOUND] = found
    counts[ENTRIES_SEEN] += seen
    return end


@helper
def take(scratch: Any, found: Any, created_ms: Any, row: Any) -> Any:
    scratch.found_ms[found] = created_ms
    scratch.found_rows[found] = row
    return found + 1


@helper
def put_near(entry: Any, created_ms: Any, row: Any, mark: Any) -> None:
    entry.created_ms = created_ms
    entry.row = row
    entry.mark = mark


@helper
def ask_for_references(state: Any, scratch: Any, begin: Any, count: Any) -> None:
    """Asks for what near posts refer to."""
    for i in range(begin, begin + count):
        reference = max(np.int64(state.reference[scratch.near[i].row]), 0)
        prefetch(state.rows, reference)
        prefetch(state.flags, reference)


@helper
def judge(state: Any, scratch: Any, limits: Any, begin: Any, count: Any, kind: Any) -> None:
    """Takes what passes of the near."""
    counts = scratch.counts
    found, scanned = counts[FOUND], 0
    for i in range(begin, begin + count):
        near = scratch.near[i]
        mark, row = near.mark, np.int64(near.row)
        if not candidate(state, scratch, limits, mark, row, kind):
            continue
        scanned += 1
        if passes(state, scratch, limits, mark, row, kind):
            found = take(scratch, found, near.created_ms, row)
    counts[FOUND] = found
    counts[SCANNED] += scanned
    if found >= 2 * counts[WANTED]:
        keep_newest(state, scratch)


@helper
def walk(state: Any, scratch: Any, limits: Any, slot: Any, kind: Any, taken_max: Any) -> None:
    """Takes what passes of one segment, newest first, with its caps."""
    author = state.authors[slot]
    first = author.first[kind]
    at = first + author.length[kind] - 1
    oldest_ms = max(limits.cutoff_ms, scratch.limit_ms[0])
    counts = scratch.counts
    found = counts[FOUND]
    scanned = taken = seen = 0
    while at >= first and taken < taken_max:
        entry = state.entries[at]
        created_ms, mark, row = entry.created_ms, entry.mark, np.int64(entry.row)
        at -= 1
        if created_ms > limits.now_ms:
            continue
        if created_ms < oldest_ms:
            break
        seen += 1
        if mark & (DEAD | HIDDEN) != 0:
            continue
        if not candidate(state, scratch, limits, mark, row, kind):
            continue
        if scanned == SCAN_MAX:
            break
        scanned += 1
        if passes(state, scratch, limits, mark, row, kind):
            taken += 1
            found = take(scratch, found, created_ms, row)
    counts[FOUND] = found
    counts[SCANNED] += scanned
    counts[ENTRIES_SEEN] += seen
    if found >= 2 * counts[WANTED]:
        keep_newest(state, scratch)


@helper
def gather(state: Any, scratch: Any, limits: Any, complete: Any, posts: Any, flags: Any) -> Any:
    keep_newest(state, scratch)
    counts, rows = scratch.counts, scratch.found_rows
    found, wanted = counts[FOUND], counts[WANTED]
    if complete and found < wanted and scratch.limit_ms[0] != NO_LIMIT_MS:
        begin_again(scratch, limits)
        return -1
    for i in range(found):
        ahead = np.int64(rows[min(i + GATHER_AHEAD, found - 1)])
        prefetch(state.rows, ahead)
        prefetch(state.flags, ahead)
        posts[i] = state.rows[rows[i]]
        flags[i] = state.flags[rows[i]]
    return found
