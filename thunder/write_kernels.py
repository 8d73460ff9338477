"""Compiled writes: insert, status changes and trimming. One writer at a time, readers kept out.

A kernel that needs more room stops, says of what, and is called again where it stopped, so the
arrays grow in Python and never under a reader. Each takes only so much at once, for readers wait.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder import id_map, segments
from thunder.compiled import helper, kernel, prefetch
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
    ORIGINALS,
    POSTS,
    REPLY,
    REPOST,
    ROWS_FREE,
    ROWS_USED,
    SECONDARY,
    STATUS,
    STATUS_DEAD,
    STATUS_IN_STORE,
    STATUS_TIME,
    STATUSES,
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
    end: Any,
    cutoff_ms: Any,
    latest_ms: Any,
    outcomes: Any,
) -> Any:
    """Inserts posts [begin, end) of [n] ROW with flags [n]; returns (what stopped it, where)."""
    for i in range(begin, end):
        prefetch(state.post_slots, id_map.home(state.post_slots, posts[i].post_id))
        prefetch(state.author_slots, id_map.home(state.author_slots, posts[i].author_id))
    for i in range(begin, end):
        code = insert_post(state, posts, flags, i, cutoff_ms, latest_ms, outcomes)
        if code != DONE:
            return code, i
    return DONE, end


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
    author = state.authors[slot]
    kind = ORIGINALS if flags[i] & (REPLY | REPOST) == 0 else SECONDARY
    if author.length[kind] >= AUTHOR_POSTS_MAX:
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
    segments.insert(state, slot, kind, row)
    if in_videos:
        segments.insert(state, slot, VIDEOS, row)
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
    if id_map.find_row(state.post_slots, state.rows.post_id, post.post_id) >= 0:
        return DUPLICATE
    return APPLIED


@helper
def lacking(state: Any) -> Any:
    """What must grow before one more post fits; DONE where nothing must."""
    if id_map.crowded(state.post_slots, state.numbers[POSTS]):
        return GROW_POSTS
    if id_map.crowded(state.author_slots, state.numbers[AUTHORS]):
        return GROW_AUTHORS
    if state.numbers[ROWS_FREE] == 0 and state.numbers[ROWS_USED] == state.rows.size:
        return EVICT
    return DONE


@helper
def before_oldest(state: Any, slot: Any, kind: Any, created_ms: Any, post_id: Any) -> Any:
    oldest = state.entries[state.authors[slot].first[kind]]
    return segments.after(state, oldest, created_ms, post_id)


@helper
def author_slot(state: Any, author_id: Any) -> Any:
    """The author's slot, made where it is new."""
    slot = id_map.find_row(state.author_slots, state.authors.author_id, author_id)
    if slot >= 0:
        return slot
    numbers = state.numbers
    if numbers[AUTHORS_FREE] > 0:
        numbers[AUTHORS_FREE] -= 1
        slot = np.int64(state.free_authors[numbers[AUTHORS_FREE]])
    else:
        slot = numbers[AUTHORS_USED]
        numbers[AUTHORS_USED] += 1
    numbers[AUTHORS] += 1
    state.authors[slot].author_id = author_id
    id_map.put_row(state.author_slots, author_id, slot)
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
    referred = post.source_post_id if flags & REPOST != 0 else post.in_reply_to_post_id
    state.reference[row] = row_of(state, referred)
    id_map.put_row(state.post_slots, post.post_id, row)
    at = id_map.find(state.tomb_keys, post.post_id)
    if at < 0:
        return
    state.numbers[TOMBSTONES] -= 1
    status = state.tomb_values[at]
    if status >> STATUS_TIME < cutoff_ms:
        forget(state, at)
        return
    state.tomb_values[at] = status | STATUS_IN_STORE
    state.flags[row] |= np.uint8(STATUS)
    set_dead(state, row, status & STATUS_DEAD)


@helper
def row_of(state: Any, post_id: Any) -> Any:
    """Row of a post; NO_ROW where it is not in the store."""
    if post_id == 0:
        return np.int64(NO_ROW)
    return id_map.find_row(state.post_slots, state.rows.post_id, post_id)


@helper
def forget(state: Any, at: Any) -> None:
    """Drops the status at a slot of the map."""
    id_map.remove_at(state.tomb_keys, state.tomb_values, at)
    state.numbers[STATUSES] -= 1


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
    end: Any,
    cutoff_ms: Any,
    latest_ms: Any,
    outcomes: Any,
) -> Any:
    """Applies deletes (dead 1) and undeletes (dead 0) [begin, end) of [n]; returns (what stopped
    it, where)."""
    for i in range(begin, end):
        prefetch(state.post_slots, id_map.home(state.post_slots, post_ids[i]))
    for i in range(begin, end):
        if post_ids[i] == 0:
            outcomes[i] = INVALID
        elif times_ms[i] > latest_ms:
            outcomes[i] = FROM_FUTURE
        elif times_ms[i] < cutoff_ms:
            outcomes[i] = EXPIRED
        elif id_map.crowded(state.tomb_keys, state.numbers[STATUSES]):
            return GROW_TOMBSTONES, i
        else:
            applied = apply_status(state, post_ids[i], times_ms[i], dead[i])
            outcomes[i] = APPLIED if applied else DUPLICATE
    return DONE, end


@helper
def apply_status(state: Any, post_id: Any, status_ms: Any, dead: Any) -> Any:
    """False where the known status is newer; the map of statuses has room."""
    at = id_map.find(state.tomb_keys, post_id)
    if at >= 0:
        known = state.tomb_values[at]
        if not newer(known >> STATUS_TIME, known & STATUS_DEAD, status_ms, dead):
            return False
    row = row_of(state, post_id)
    status = (status_ms << STATUS_TIME) + np.int64(dead)
    if row >= 0:
        status |= STATUS_IN_STORE
    id_map.put(state.tomb_keys, state.tomb_values, post_id, status)
    state.numbers[STATUSES] += at < 0
    state.numbers[TOMBSTONES] += at < 0 and row < 0
    if row >= 0:
        show_status(state, row, dead)
    return True


@helper
def show_status(state: Any, row: Any, dead: Any) -> None:
    """Notes at a post of the store that it has a status, and whether it is dead."""
    before = state.flags[row]
    state.flags[row] |= np.uint8(STATUS)
    set_dead(state, row, dead)
    if state.flags[row] == before:
        return
    author_id = state.rows[row].author_id
    slot = id_map.find_row(state.author_slots, state.authors.author_id, author_id)
    kind = ORIGINALS if before & (REPLY | REPOST) == 0 else SECONDARY
    segments.show_flags(state, slot, kind, row)
    if listed_as_video(before):
        segments.show_flags(state, slot, VIDEOS, row)


@helper
def drop_oldest(state: Any, slot: Any, kind: Any, status_cutoff_ms: Any) -> None:
    """Removes the oldest post of a main segment from everything; a fresh status outlives it."""
    row = segments.pop_oldest(state, slot, kind)
    flags = state.flags[row]
    if listed_as_video(flags):
        segments.remove(state, slot, VIDEOS, row)
    post_id = state.rows[row].post_id
    if flags & STATUS != 0:
        leave_status(state, post_id, status_cutoff_ms)
    set_dead(state, row, 0)
    id_map.remove_row(state.post_slots, state.rows.post_id, post_id)
    state.rows[row].post_id = 0  # hints to this row no longer match
    state.free_rows[state.numbers[ROWS_FREE]] = row
    state.numbers[ROWS_FREE] += 1
    state.numbers[POSTS] -= 1


@helper
def leave_status(state: Any, post_id: Any, status_cutoff_ms: Any) -> None:
    """The post of a status leaves the store."""
    at = id_map.find(state.tomb_keys, post_id)
    if state.tomb_values[at] >> STATUS_TIME < status_cutoff_ms:
        forget(state, at)
        return
    state.tomb_values[at] &= ~STATUS_IN_STORE
    state.numbers[TOMBSTONES] += 1


@kernel
def trim(
    state: Any, begin: Any, end: Any, cutoff_ms: Any, status_cutoff_ms: Any, posts_max: Any
) -> Any:
    """Drops posts created before ``cutoff_ms`` of the author slots [begin, end), ``posts_max`` at
    most; returns the slot to go on from."""
    left = posts_max
    for slot in range(begin, min(end, state.numbers[AUTHORS_USED])):
        author = state.authors[slot]
        for kind in range(SECONDARY + 1):
            while author.length[kind] > 0 and segments.oldest_ms(state, slot, kind) < cutoff_ms:
                if left == 0:
                    return slot
                drop_oldest(state, slot, kind, status_cutoff_ms)
                left -= 1
        drop_author_if_empty(state, slot)
    return end


@helper
def drop_author_if_empty(state: Any, slot: Any) -> None:
    author = state.authors[slot]
    if author.author_id == 0:
        return
    for kind in range(KINDS):
        if author.length[kind] > 0:
            return
    id_map.remove_row(state.author_slots, state.authors.author_id, author.author_id)
    author.author_id = 0
    state.free_authors[state.numbers[AUTHORS_FREE]] = slot
    state.numbers[AUTHORS_FREE] += 1
    state.numbers[AUTHORS] -= 1
