"""Compiled writes: insert, status changes and trimming. One writer at a time, readers kept out.

A kernel that needs more room stops, says of what, and is called again where it stopped, so the
arrays grow in Python and never under a reader.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder import id_map, segments
from thunder.compiled import helper, kernel
from thunder.layout import (
    AUTHOR_POSTS_MAX,
    AUTHORS,
    AUTHORS_FREE,
    AUTHORS_USED,
    DEAD,
    DEAD_POSTS,
    FLOOR_MS,
    HIDDEN,
    KINDS,
    NO_ROW,
    NO_STATUS,
    ORIGINALS,
    POSTS,
    REPLY,
    REPOST,
    ROWS_FREE,
    ROWS_USED,
    SECONDARY,
    TOMBSTONES,
    VIDEO,
    VIDEOS,
)

# What a kernel says when it stops.
DONE: Final = 0
GROW_POSTS: Final = 1
GROW_AUTHORS: Final = 2
GROW_ARENA: Final = 3
GROW_TOMBSTONES: Final = 4
EVICT: Final = 5

# What became of one event.
APPLIED: Final = 0
DUPLICATE: Final = 1  # known already, or an older status than the known one
INVALID: Final = 2  # a post or author id of 0
FROM_FUTURE: Final = 3
EXPIRED: Final = 4
NO_ROOM: Final = 5  # older than what memory has room for
AUTHOR_FULL: Final = 6  # older than the author's newest AUTHOR_POSTS_MAX
OUTCOMES: Final = (
    "applied",
    "duplicate",
    "invalid",
    "from_future",
    "expired",
    "no_room",
    "author_full",
)


@kernel
def insert_posts(
    state: Any,
    posts: Any,
    flags: Any,
    begin: Any,
    cutoff_ms: Any,
    latest_ms: Any,
    outcomes: Any,
) -> Any:
    """Inserts posts [n] ROW with flags [n] from ``begin`` on; returns (what stopped it, where)."""
    for i in range(begin, posts.size):
        code = insert_post(state, posts, flags, i, cutoff_ms, latest_ms, outcomes)
        if code != DONE:
            return code, i
    return DONE, posts.size


@helper
def insert_post(
    state: Any, posts: Any, flags: Any, i: Any, cutoff_ms: Any, latest_ms: Any, outcomes: Any
) -> Any:
    post = posts[i]
    outcomes[i] = refusal(state, post, cutoff_ms, latest_ms)
    if outcomes[i] != APPLIED:
        return DONE
    code = lacking(state)
    if code != DONE:
        return code
    slot = author_slot(state, post.author_id)
    kind = ORIGINALS if flags[i] & (REPLY | REPOST) == 0 else SECONDARY
    if state.lengths[slot, kind] >= AUTHOR_POSTS_MAX:
        if before_oldest(state, slot, kind, post.created_at_ms, post.post_id):
            outcomes[i] = AUTHOR_FULL
            return DONE
        drop_oldest(state, slot, kind, cutoff_ms)
    if not segments.make_room(state, slot, kind):
        return GROW_ARENA
    in_videos = listed_as_video(flags[i])
    if in_videos and not segments.make_room(state, slot, VIDEOS):
        return GROW_ARENA
    row = take_row(state)
    fill_row(state, row, post, flags[i], cutoff_ms)
    segments.insert(state, slot, kind, post.created_at_ms, post.post_id, row)
    if in_videos:
        segments.insert(state, slot, VIDEOS, post.created_at_ms, post.post_id, row)
    return DONE


@helper
def listed_as_video(flags: Any) -> Any:
    """Whether a post is in its author's VIDEOS too."""
    return flags & (REPLY | HIDDEN) == 0 and flags & (VIDEO | REPOST) != 0


@helper
def refusal(state: Any, post: Any, cutoff_ms: Any, latest_ms: Any) -> Any:
    """APPLIED where the post may be inserted, otherwise why not."""
    if post.post_id == 0 or post.author_id == 0:
        return INVALID
    if post.created_at_ms > latest_ms:
        return FROM_FUTURE
    if post.created_at_ms < cutoff_ms:
        return EXPIRED
    if post.created_at_ms <= state.numbers[FLOOR_MS]:
        return NO_ROOM
    if id_map.find(state.post_keys, post.post_id) >= 0:
        return DUPLICATE
    return APPLIED


@helper
def lacking(state: Any) -> Any:
    """What must grow before one more post fits; DONE where nothing must."""
    if id_map.crowded(state.post_keys, state.numbers[POSTS]):
        return GROW_POSTS
    if id_map.crowded(state.author_keys, state.numbers[AUTHORS]):
        return GROW_AUTHORS
    if id_map.crowded(state.tomb_keys, state.numbers[TOMBSTONES]):
        return GROW_TOMBSTONES  # an author's oldest post may leave its status behind
    if state.numbers[ROWS_FREE] == 0 and state.numbers[ROWS_USED] == state.rows.size:
        return EVICT
    return DONE


@helper
def before_oldest(state: Any, slot: Any, kind: Any, created_ms: Any, post_id: Any) -> Any:
    first = state.starts[slot, kind] + state.heads[slot, kind]
    if created_ms != state.entry_ms[first]:
        return created_ms < state.entry_ms[first]
    return post_id < state.entry_ids[first]


@helper
def author_slot(state: Any, author_id: Any) -> Any:
    """The author's slot, made where it is new."""
    at = id_map.find(state.author_keys, author_id)
    if at >= 0:
        return np.int64(state.author_slots[at])
    numbers = state.numbers
    if numbers[AUTHORS_FREE] > 0:
        numbers[AUTHORS_FREE] -= 1
        slot = np.int64(state.free_authors[numbers[AUTHORS_FREE]])
    else:
        slot = numbers[AUTHORS_USED]
        numbers[AUTHORS_USED] += 1
    numbers[AUTHORS] += 1
    state.author_ids[slot] = author_id
    id_map.put(state.author_keys, state.author_slots, author_id, slot)
    return slot


@helper
def take_row(state: Any) -> Any:
    numbers = state.numbers
    numbers[POSTS] += 1
    if numbers[ROWS_FREE] > 0:
        numbers[ROWS_FREE] -= 1
        return np.int64(state.free_rows[numbers[ROWS_FREE]])
    numbers[ROWS_USED] += 1
    return numbers[ROWS_USED] - 1


@helper
def fill_row(state: Any, row: Any, post: Any, flags: Any, cutoff_ms: Any) -> None:
    """Writes the post and the status that came before it."""
    state.rows[row] = post
    state.flags[row] = flags
    state.status_ms[row] = NO_STATUS
    referred = post.source_post_id if flags & REPOST != 0 else post.in_reply_to_post_id
    at = id_map.find(state.post_keys, referred) if referred != 0 else -1
    state.reference[row] = state.post_rows[at] if at >= 0 else NO_ROW
    id_map.put(state.post_keys, state.post_rows, post.post_id, row)
    at = id_map.find(state.tomb_keys, post.post_id)
    if at < 0:
        return
    status = state.tomb_values[at]
    id_map.remove_at(state.tomb_keys, state.tomb_values, at)
    state.numbers[TOMBSTONES] -= 1
    if status >> 1 >= cutoff_ms:
        state.status_ms[row] = status >> 1
        set_dead(state, row, status & 1)


@helper
def set_dead(state: Any, row: Any, dead: Any) -> None:
    was = state.flags[row] & DEAD
    if dead != 0 and was == 0:
        state.flags[row] |= np.uint8(DEAD)
        state.numbers[DEAD_POSTS] += 1
    elif dead == 0 and was != 0:
        state.flags[row] &= np.uint8(255 - DEAD)
        state.numbers[DEAD_POSTS] -= 1


@helper
def newer(known_ms: Any, known_dead: Any, status_ms: Any, dead: Any) -> Any:
    """Whether a status replaces the known one: later event time, or a delete at the same time."""
    return status_ms > known_ms or (status_ms == known_ms and dead != 0 and known_dead == 0)


@kernel
def apply_statuses(
    state: Any,
    post_ids: Any,
    times_ms: Any,
    dead: Any,
    begin: Any,
    cutoff_ms: Any,
    latest_ms: Any,
    outcomes: Any,
) -> Any:
    """Applies deletes (dead 1) and undeletes (dead 0) [n]; returns (what stopped it, where)."""
    for i in range(begin, post_ids.size):
        if post_ids[i] == 0:
            outcomes[i] = INVALID
        elif times_ms[i] > latest_ms:
            outcomes[i] = FROM_FUTURE
        elif times_ms[i] < cutoff_ms:
            outcomes[i] = EXPIRED
        elif id_map.crowded(state.tomb_keys, state.numbers[TOMBSTONES]):
            return GROW_TOMBSTONES, i
        else:
            applied = apply_status(state, post_ids[i], times_ms[i], dead[i])
            outcomes[i] = APPLIED if applied else DUPLICATE
    return DONE, post_ids.size


@helper
def apply_status(state: Any, post_id: Any, status_ms: Any, dead: Any) -> Any:
    at = id_map.find(state.post_keys, post_id)
    if at < 0:
        return remember_status(state, post_id, status_ms, dead)
    row = state.post_rows[at]
    if not newer(state.status_ms[row], state.flags[row] & DEAD, status_ms, dead):
        return False
    state.status_ms[row] = status_ms
    set_dead(state, row, dead)
    return True


@helper
def remember_status(state: Any, post_id: Any, status_ms: Any, dead: Any) -> Any:
    """Keeps the status of a post that is not in the store; the tombstone map has room."""
    at = id_map.find(state.tomb_keys, post_id)
    if at >= 0:
        known = state.tomb_values[at]
        if not newer(known >> 1, known & 1, status_ms, dead):
            return False
        state.tomb_values[at] = status_ms * 2 + dead
        return True
    id_map.put(state.tomb_keys, state.tomb_values, post_id, status_ms * 2 + dead)
    state.numbers[TOMBSTONES] += 1
    return True


@helper
def drop_oldest(state: Any, slot: Any, kind: Any, status_cutoff_ms: Any) -> None:
    """Removes the oldest post of a main segment from everything; a fresh status outlives it."""
    row = segments.pop_oldest(state, slot, kind)
    flags = state.flags[row]
    if listed_as_video(flags):
        segments.remove_row(state, slot, VIDEOS, row)
    post_id = state.rows[row].post_id
    if state.status_ms[row] >= status_cutoff_ms:
        remember_status(state, post_id, state.status_ms[row], np.int64(flags & DEAD))
    set_dead(state, row, 0)
    at = id_map.find(state.post_keys, post_id)
    id_map.remove_at(state.post_keys, state.post_rows, at)
    state.rows[row].post_id = 0  # hints to this row no longer match
    state.free_rows[state.numbers[ROWS_FREE]] = row
    state.numbers[ROWS_FREE] += 1
    state.numbers[POSTS] -= 1


@kernel
def trim(state: Any, begin: Any, end: Any, cutoff_ms: Any, status_cutoff_ms: Any) -> Any:
    """Drops posts created before ``cutoff_ms`` of the author slots [begin, end).

    Returns (what stopped it, the slot to go on from).
    """
    for slot in range(begin, min(end, state.numbers[AUTHORS_USED])):
        for kind in range(SECONDARY + 1):
            while (
                state.lengths[slot, kind] > 0 and segments.oldest_ms(state, slot, kind) < cutoff_ms
            ):
                if id_map.crowded(state.tomb_keys, state.numbers[TOMBSTONES]):
                    return GROW_TOMBSTONES, slot
                drop_oldest(state, slot, kind, status_cutoff_ms)
        drop_author_if_empty(state, slot)
    return DONE, end


@helper
def drop_author_if_empty(state: Any, slot: Any) -> None:
    author_id = state.author_ids[slot]
    if author_id == 0:
        return
    for kind in range(KINDS):
        if state.lengths[slot, kind] > 0:
            return
    at = id_map.find(state.author_keys, author_id)
    id_map.remove_at(state.author_keys, state.author_slots, at)
    state.author_ids[slot] = 0
    state.free_authors[state.numbers[AUTHORS_FREE]] = slot
    state.numbers[AUTHORS_FREE] += 1
    state.numbers[AUTHORS] -= 1
