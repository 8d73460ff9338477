"""Author segments: time-ordered entries in blocks of one arena.

A block holds a power of two of entries and doubles when full; freed blocks are kept in lists by
size and reused. Entries ascend by (created_at_ms, post_id), so a new post is usually appended,
trimming drops from the front, and a query walks from the back.
"""

from __future__ import annotations

from typing import Any

from thunder.compiled import helper, kernel
from thunder.layout import ARENA_USED, ENTRIES, KINDS, SEGMENT_MIN


@helper
def block_class(capacity: Any) -> Any:
    """log2 of a block's capacity."""
    size_class = 0
    while (1 << size_class) < capacity:
        size_class += 1
    return size_class


@helper
def allocate(state: Any, capacity: Any) -> Any:
    """First entry of a free block of ``capacity`` entries; −1 when the arena is full."""
    size_class = block_class(capacity)
    start = state.free_blocks[size_class]
    if start >= 0:
        state.free_blocks[size_class] = state.entry_ms[start]
        return start
    start = state.numbers[ARENA_USED]
    if start + capacity > state.entry_ms.size:
        return -1
    state.numbers[ARENA_USED] = start + capacity
    return start


@helper
def release(state: Any, slot: Any, kind: Any) -> None:
    """Gives the segment's block back; the segment is empty."""
    capacity = state.capacities[slot, kind]
    if capacity > 0:
        start = state.starts[slot, kind]
        size_class = block_class(capacity)
        state.entry_ms[start] = state.free_blocks[size_class]
        state.free_blocks[size_class] = start
    state.capacities[slot, kind] = 0
    state.heads[slot, kind] = 0
    state.lengths[slot, kind] = 0


@helper
def move_entries(state: Any, source: Any, target: Any, count: Any) -> None:
    """Copies entries towards lower addresses or into another block."""
    for i in range(count):
        state.entry_ms[target + i] = state.entry_ms[source + i]
        state.entry_ids[target + i] = state.entry_ids[source + i]
        state.entry_rows[target + i] = state.entry_rows[source + i]


@helper
def make_room(state: Any, slot: Any, kind: Any) -> Any:
    """Ensures room for one entry behind the last; False when the arena is full."""
    head, length = state.heads[slot, kind], state.lengths[slot, kind]
    capacity = state.capacities[slot, kind]
    if head + length < capacity:
        return True
    start = state.starts[slot, kind]
    if capacity > 0 and 2 * head >= capacity:
        move_entries(state, start + head, start, length)
        state.heads[slot, kind] = 0
        return True
    grown = max(SEGMENT_MIN, 2 * capacity)
    target = allocate(state, grown)
    if target < 0:
        return False
    move_entries(state, start + head, target, length)
    release(state, slot, kind)
    state.starts[slot, kind] = target
    state.capacities[slot, kind] = grown
    state.lengths[slot, kind] = length
    return True


@helper
def insert(state: Any, slot: Any, kind: Any, created_ms: Any, post_id: Any, row: Any) -> None:
    """Puts one entry in its place by time; ``make_room`` has returned True."""
    first = state.starts[slot, kind] + state.heads[slot, kind]
    at = first + state.lengths[slot, kind]
    while at > first and (
        state.entry_ms[at - 1] > created_ms
        or (state.entry_ms[at - 1] == created_ms and state.entry_ids[at - 1] > post_id)
    ):
        state.entry_ms[at] = state.entry_ms[at - 1]
        state.entry_ids[at] = state.entry_ids[at - 1]
        state.entry_rows[at] = state.entry_rows[at - 1]
        at -= 1
    state.entry_ms[at] = created_ms
    state.entry_ids[at] = post_id
    state.entry_rows[at] = row
    state.lengths[slot, kind] += 1
    state.numbers[ENTRIES + kind] += 1


@helper
def pop_oldest(state: Any, slot: Any, kind: Any) -> Any:
    """Drops the oldest entry and returns its row; an emptied segment gives its block back."""
    row = state.entry_rows[state.starts[slot, kind] + state.heads[slot, kind]]
    state.heads[slot, kind] += 1
    state.lengths[slot, kind] -= 1
    state.numbers[ENTRIES + kind] -= 1
    if state.lengths[slot, kind] == 0:
        release(state, slot, kind)
    return row


@helper
def oldest_ms(state: Any, slot: Any, kind: Any) -> Any:
    """Time of the oldest entry of a segment that has one."""
    return state.entry_ms[state.starts[slot, kind] + state.heads[slot, kind]]


@helper
def remove_row(state: Any, slot: Any, kind: Any, row: Any) -> None:
    """Drops the entry of ``row`` where the segment has one, oldest looked at first."""
    first = state.starts[slot, kind] + state.heads[slot, kind]
    last = first + state.lengths[slot, kind]
    for at in range(first, last):
        if state.entry_rows[at] == row:
            move_entries(state, at + 1, at, last - at - 1)
            state.lengths[slot, kind] -= 1
            state.numbers[ENTRIES + kind] -= 1
            if state.lengths[slot, kind] == 0:
                release(state, slot, kind)
            return


@kernel
def compact(state: Any, entry_ms: Any, entry_ids: Any, entry_rows: Any, slots: Any) -> None:
    """Copies all segments of the first ``slots`` authors into a fresh arena, tightly."""
    used = 0
    for slot in range(slots):
        for kind in range(KINDS):
            length = state.lengths[slot, kind]
            if length == 0:
                continue
            first = state.starts[slot, kind] + state.heads[slot, kind]
            capacity = 1 << block_class(max(length, SEGMENT_MIN))
            for i in range(length):
                entry_ms[used + i] = state.entry_ms[first + i]
                entry_ids[used + i] = state.entry_ids[first + i]
                entry_rows[used + i] = state.entry_rows[first + i]
            state.starts[slot, kind] = used
            state.heads[slot, kind] = 0
            state.capacities[slot, kind] = capacity
            used += capacity
    state.numbers[ARENA_USED] = used
    state.free_blocks[:] = -1
