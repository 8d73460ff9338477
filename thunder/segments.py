"""Author segments: time-ordered entries in blocks of one arena.

A block holds a power of two of entries. Whenever it is full to its end, they move to one of the
size that they need by then: so an author who writes less gives memory back, and what is in use
does not grow with the hours. Freed blocks are kept in lists by size and reused. Entries ascend by
(created_at_ms, post_id), so a new post is usually appended, trimming drops from the front, and a
query walks from the back.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder import id_map
from thunder.compiled import helper, kernel
from thunder.layout import ARENA_USED, ENTRIES, KINDS, SEGMENT_MIN

SPARE_BITS: Final = 2  # a quarter of its entries is free in a block, so each moves some four times


@helper
def class_for(capacity: Any) -> Any:
    """log2 of a block's capacity."""
    size_class = 0
    while (1 << size_class) < capacity:
        size_class += 1
    return size_class


@helper
def allocate(state: Any, size_class: Any) -> Any:
    """First entry of a free block of 2^``size_class`` entries; −1 when the arena is full."""
    start = state.free_blocks[size_class]
    if start >= 0:
        state.free_blocks[size_class] = state.entries[start].created_ms
        return start
    start = state.numbers[ARENA_USED]
    if start + (1 << size_class) > state.entries.size:
        return -1
    state.numbers[ARENA_USED] = start + (1 << size_class)
    return start


@helper
def release(state: Any, slot: Any, kind: Any) -> None:
    """Gives the segment's block back; the segment is empty."""
    author = state.authors[slot]
    size_class = author.size_class[kind]
    if size_class > 0:
        start = author.first[kind] - author.head[kind]
        state.entries[start].created_ms = state.free_blocks[size_class]
        state.free_blocks[size_class] = start
    author.size_class[kind] = 0
    author.first[kind] = 0
    author.head[kind] = 0
    author.length[kind] = 0


@helper
def copy_entry(source: Any, i: Any, target: Any, j: Any) -> None:
    target[j].created_ms = source[i].created_ms
    target[j].row = source[i].row
    target[j].mark = source[i].mark


@helper
def move_entries(source: Any, begin: Any, target: Any, to: Any, count: Any) -> None:
    """Copies entries towards lower addresses or into another block."""
    for i in range(count):
        copy_entry(source, begin + i, target, to + i)


@helper
def make_room(state: Any, slot: Any, kind: Any) -> Any:
    """Ensures room for one entry behind the last; False when the arena is full.

    A block that is full to its end is left for one of the size that its entries need, larger or
    smaller; where that is its own size they move to its beginning."""
    author = state.authors[slot]
    first, head = author.first[kind], np.int64(author.head[kind])
    length, size_class = np.int64(author.length[kind]), np.int64(author.size_class[kind])
    capacity = 1 << size_class if size_class > 0 else 0
    if head + length < capacity:
        return True
    fitting = class_for(max(length + (length >> SPARE_BITS) + 1, SEGMENT_MIN))
    if fitting == size_class:
        move_entries(state.entries, first, state.entries, first - head, length)
        author.first[kind] = first - head
        author.head[kind] = 0
        return True
    target = allocate(state, fitting)
    if target < 0:
        return False
    move_entries(state.entries, first, state.entries, target, length)
    release(state, slot, kind)
    author.first[kind] = target
    author.size_class[kind] = fitting
    author.length[kind] = length
    return True


@helper
def after(state: Any, entry: Any, created_ms: Any, post_id: Any) -> Any:
    """Whether an entry belongs behind (created_ms, post_id)."""
    if entry.created_ms != created_ms:
        return entry.created_ms > created_ms
    return state.rows[entry.row].post_id > post_id


@helper
def insert(state: Any, slot: Any, kind: Any, row: Any) -> None:
    """Puts a post in its place by time; ``make_room`` has returned True."""
    author, entries, post = state.authors[slot], state.entries, state.rows[row]
    created_ms, post_id = post.created_at_ms, post.post_id
    first = author.first[kind]
    at = first + author.length[kind]
    while at > first and after(state, entries[at - 1], created_ms, post_id):
        copy_entry(entries, at - 1, entries, at)
        at -= 1
    entries[at].created_ms = created_ms
    entries[at].row = row
    entries[at].mark = id_map.mark_of(post_id, state.flags[row])
    author.length[kind] += 1
    state.numbers[ENTRIES + kind] += 1


@helper
def pop_oldest(state: Any, slot: Any, kind: Any) -> Any:
    """Drops the oldest entry and returns its row; an emptied segment gives its block back."""
    author = state.authors[slot]
    row = np.int64(state.entries[author.first[kind]].row)
    author.first[kind] += 1
    author.head[kind] += 1
    author.length[kind] -= 1
    state.numbers[ENTRIES + kind] -= 1
    if author.length[kind] == 0:
        release(state, slot, kind)
    return row


@helper
def oldest_ms(state: Any, slot: Any, kind: Any) -> Any:
    """Time of the oldest entry of a segment that has one."""
    return state.entries[state.authors[slot].first[kind]].created_ms


@helper
def place_of(state: Any, slot: Any, kind: Any, row: Any) -> Any:
    """The entry of ``row`` in a segment, by bisection of its time; −1 where it has none."""
    author, created_ms = state.authors[slot], state.rows[row].created_at_ms
    low = author.first[kind]
    last = low + author.length[kind]
    high = last
    while low < high:
        middle = (low + high) >> 1
        if state.entries[middle].created_ms < created_ms:
            low = middle + 1
        else:
            high = middle
    while low < last and state.entries[low].created_ms == created_ms:
        if state.entries[low].row == row:
            return low
        low += 1
    return np.int64(-1)


@helper
def remove(state: Any, slot: Any, kind: Any, row: Any) -> None:
    """Drops the entry of ``row`` where the segment has one."""
    at = place_of(state, slot, kind, row)
    if at < 0:
        return
    author = state.authors[slot]
    if at == author.first[kind]:
        pop_oldest(state, slot, kind)
        return
    last = author.first[kind] + author.length[kind]
    move_entries(state.entries, at + 1, state.entries, at, last - at - 1)
    author.length[kind] -= 1
    state.numbers[ENTRIES + kind] -= 1


@helper
def show_flags(state: Any, slot: Any, kind: Any, row: Any) -> None:
    """Brings the entry's copy of the post's flags up to date."""
    at = place_of(state, slot, kind, row)
    if at >= 0:
        state.entries[at].mark = id_map.mark_of(state.rows[row].post_id, state.flags[row])


@kernel
def compact(state: Any, authors: Any, entries: Any) -> Any:
    """Copies the segments of all of ``authors`` (a copy of the state's), which it changes, tightly
    into the empty arena ``entries``; returns how many entries that took."""
    used = 0
    for slot in range(authors.size):
        author = authors[slot]
        for kind in range(KINDS):
            length = np.int64(author.length[kind])
            if length == 0:
                continue
            move_entries(state.entries, author.first[kind], entries, used, length)
            size_class = class_for(max(length, SEGMENT_MIN))
            author.first[kind] = used
            author.head[kind] = 0
            author.size_class[kind] = size_class
            used += 1 << size_class
    return used
