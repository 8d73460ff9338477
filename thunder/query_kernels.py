"""Compiled reads: walk the followed authors newest first, apply the rules, keep the newest K.

An author's walk ends at the first entry that is too old to be among the newest K, which is exact
because segments are in time order. How old that is, a query first learns from a glance at its
authors' entries, without reading a row; where that misleads (fewer than K turn up), it walks once
more without. What passes goes to a buffer that is sorted and cut to K whenever it holds twice as
many.

Memory, not arithmetic, is what a query waits for. So authors are taken in slices, and before a
slice is walked all that the walk will read is asked for at once (`look_ahead`). Each query thread
brings its own scratch, whose sets are emptied by counting an epoch up.

Rules (behaviour of x-algorithm thunder, January 2026): newest first; excluded and dead posts use
up nothing; at most SCAN_MAX of the others are looked at; reposts of the viewer's posts and of
deleted posts are dropped; a reply needs a parent that is an original, or one that itself replies
to the conversation's root while the replied-to user is followed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder import id_map
from thunder.compiled import helper, kernel, prefetch
from thunder.layout import (
    DEAD,
    HIDDEN,
    NO_ROW,
    ORIGINALS,
    REPLY,
    REPOST,
    SECONDARY,
    STATUS_DEAD,
    STATUS_TIME,
    VIDEO,
    VIDEOS,
)
from thunder.query_scratch import (
    COUNTS,
    DEAD_SOURCES,
    ENTRIES_SEEN,
    EXCLUDED,
    FILTER_BITS,
    FOUND,
    OWN_REPOSTS,
    PARENT_NOT_FOLLOWED,
    REPLIES_SEEN,
    SCANNED,
    SLICE,
    UNKNOWN_PARENT,
    WANTED,
)
from thunder.selection import NO_LIMIT_MS, keep_newest

SCAN_MAX: Final = 500  # x-algorithm, MAX_TINY_POSTS_PER_USER_SCAN
# The glance: of at most so many authors; replies count as a part, for some are dropped; and a
# margin for reposts of deleted posts and, where not all authors are looked at, for chance.
GLANCE_AUTHORS_MAX: Final = 1 << 8
REPLIES_PER_POST: Final = 4  # at least one in four is shown, else the query walks twice
GLANCE_MARGIN: Final = 32
LOOK_AHEAD: Final = 6  # entries of a segment asked for; a slice's walk rarely goes further
GATHER_AHEAD: Final = 16  # rows: as many reads as a core has under way


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
def begin(
    state: Any, scratch: Any, limits: Any, following: Any, excluded_ids: Any, videos: Any
) -> Any:
    """Starts a query; returns how many different authors it names."""
    authors = fill_sets(scratch, following, excluded_ids)
    begin_walk(scratch, limits.results_max)
    find_authors(state, scratch, authors)
    glance(state, scratch, limits, authors, videos)
    return authors


@helper
def fill_sets(scratch: Any, following: Any, excluded_ids: Any) -> Any:
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
    scratch.exclude_filter[:] = 0
    for post_id in excluded_ids:
        set_add(scratch.exclude_keys, scratch.exclude_epochs, epoch, post_id)
        bit = filter_bit(id_map.mark_of(post_id, 0))
        scratch.exclude_filter[bit >> 3] |= np.uint8(1 << (bit & 7))
    return authors


@helper
def filter_bit(mark: Any) -> Any:
    return np.int64(mark >> np.uint32(8)) & (FILTER_BITS - 1)


@helper
def begin_walk(scratch: Any, wanted: Any) -> None:
    scratch.counts[:COUNTS] = 0
    scratch.counts[WANTED] = wanted
    scratch.limit_ms[0] = NO_LIMIT_MS


@helper
def find_authors(state: Any, scratch: Any, authors: Any) -> None:
    """Slots of all authors, −1 for those without posts."""
    ids, slots, index = scratch.authors, scratch.slots, state.author_slots
    for first in range(0, authors, SLICE):
        last = min(authors, first + SLICE)
        for i in range(first, last):
            prefetch(index, id_map.home(index, ids[i]))
        for i in range(first, last):
            at_home = np.int64(index[id_map.home(index, ids[i])])
            prefetch(state.authors, max(at_home - 1, 0))
        for i in range(first, last):
            slots[i] = NO_ROW
            if ids[i] != 0:
                slots[i] = id_map.find_row(index, state.authors.author_id, ids[i])


@helper
def glance(state: Any, scratch: Any, limits: Any, authors: Any, videos: Any) -> None:
    """Learns how old the K-th newest post will be, about, from what entries alone say."""
    step = (authors + GLANCE_AUTHORS_MAX - 1) // GLANCE_AUTHORS_MAX
    if step == 0:
        return
    wanted = limits.results_max
    margin = GLANCE_MARGIN if step == 1 else GLANCE_MARGIN + wanted // (8 * step)
    share = wanted // step + margin
    begin_walk(scratch, share)
    first_kind, last_kind = (VIDEOS, VIDEOS) if videos else (ORIGINALS, SECONDARY)
    for first in range(0, authors, SLICE * step):
        last = min(authors, first + SLICE * step)
        ask_for_entries(state, scratch, first, last, step, first_kind, last_kind)
        for i in range(first, last, step):
            if scratch.slots[i] < 0:
                continue
            for kind in range(first_kind, last_kind + 1):
                glance_at(state, scratch, limits, np.int64(scratch.slots[i]), kind)
    keep_newest(state, scratch)
    enough, limit_ms = scratch.counts[FOUND] == share, scratch.limit_ms[0]
    begin_walk(scratch, wanted)
    if enough:
        scratch.limit_ms[0] = limit_ms


@helper
def ask_for_entries(
    state: Any, scratch: Any, first: Any, last: Any, step: Any, first_kind: Any, last_kind: Any
) -> None:
    for i in range(first, last, step):
        if scratch.slots[i] < 0:
            continue
        author = state.authors[scratch.slots[i]]
        for kind in range(first_kind, last_kind + 1):
            newest = author.first[kind] + author.length[kind] - 1
            prefetch(state.entries, newest)
            prefetch(state.entries, newest - 4)  # the cache line before


@helper
def glance_at(state: Any, scratch: Any, limits: Any, slot: Any, kind: Any) -> None:
    """Times of one segment's posts that may pass, as if the rules that read rows all held."""
    author = state.authors[slot]
    first = author.first[kind]
    at = first + author.length[kind] - 1
    oldest_ms = max(limits.cutoff_ms, scratch.limit_ms[0])
    left = limits.originals_max if kind == ORIGINALS else limits.secondary_max
    if kind == VIDEOS:
        left = limits.videos_max
    counts = scratch.counts
    found = counts[FOUND]
    while at >= first and left > 0:
        entry = state.entries[at]
        created_ms, mark = entry.created_ms, entry.mark
        at -= 1
        if created_ms > limits.now_ms:
            continue
        if created_ms < oldest_ms:
            break
        if mark & (DEAD | HIDDEN) != 0 or perhaps_excluded(scratch, mark):
            continue
        if kind == VIDEOS and mark & VIDEO == 0:
            continue  # a repost of a video, perhaps
        if mark & REPLY != 0:
            counts[REPLIES_SEEN] += 1
            if counts[REPLIES_SEEN] % REPLIES_PER_POST != 0:
                continue
        left -= 1
        scratch.found_ms[found] = created_ms
        scratch.found_rows[found] = entry.row
        found += 1
    counts[FOUND] = found
    if found >= 2 * counts[WANTED]:
        keep_newest(state, scratch)


@kernel
def scan_authors(state: Any, scratch: Any, limits: Any, begin: Any, end: Any, videos: Any) -> None:
    """Walks the segments of the authors [begin, end) of the query, a slice at a time."""
    first_kind, last_kind = (VIDEOS, VIDEOS) if videos else (ORIGINALS, SECONDARY)
    ask_for_entries(state, scratch, begin, min(end, begin + SLICE), 1, first_kind, last_kind)
    for first in range(begin, end, SLICE):
        last = min(end, first + SLICE)
        ask_for_entries(state, scratch, last, min(end, last + SLICE), 1, first_kind, last_kind)
        look_ahead(state, scratch, first, last, first_kind, last_kind)
        for i in range(first, last):
            slot = np.int64(scratch.slots[i])
            if slot < 0:
                continue
            if videos:
                walk(state, scratch, limits, slot, VIDEOS, limits.videos_max)
            else:
                walk(state, scratch, limits, slot, ORIGINALS, limits.originals_max)
                walk(state, scratch, limits, slot, SECONDARY, limits.secondary_max)


@helper
def look_ahead(
    state: Any, scratch: Any, first: Any, last: Any, first_kind: Any, last_kind: Any
) -> None:
    """Asks for what the walk of a slice will read: rows, then what they refer to."""
    limit_ms = scratch.limit_ms[0]
    asked = 0
    for i in range(first, last):
        if scratch.slots[i] < 0:
            continue
        author = state.authors[scratch.slots[i]]
        for kind in range(first_kind, last_kind + 1):
            oldest = author.first[kind]
            at = oldest + author.length[kind] - 1
            oldest = max(oldest, at + 1 - LOOK_AHEAD)
            while at >= oldest and state.entries[at].created_ms >= limit_ms:
                entry = state.entries[at]
                at -= 1
                if entry.mark & (REPLY | REPOST) != 0:
                    prefetch(state.rows, np.int64(entry.row))
                    prefetch(state.reference, np.int64(entry.row))
                    scratch.ahead[asked] = entry.row
                    asked += 1
    for i in range(asked):
        reference = max(np.int64(state.reference[scratch.ahead[i]]), 0)
        prefetch(state.rows, reference)
        prefetch(state.flags, reference)


@helper
def walk(state: Any, scratch: Any, limits: Any, slot: Any, kind: Any, taken_max: Any) -> None:
    """Takes what passes of one segment, newest first."""
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
            continue  # not due yet
        if created_ms < oldest_ms:
            break
        seen += 1
        if mark & (DEAD | HIDDEN) != 0:
            continue
        if excluded(state, scratch, mark, row):
            counts[EXCLUDED] += 1
            continue
        if mark & REPOST != 0 and not showable(state, counts, limits, row, kind):
            continue
        if scanned == SCAN_MAX:
            break
        scanned += 1
        if mark & (REPLY | REPOST) == 0 or passes(state, scratch, limits, row, kind):
            taken += 1
            scratch.found_ms[found] = created_ms
            scratch.found_rows[found] = row
            found += 1
    counts[FOUND] = found
    counts[SCANNED] += scanned
    counts[ENTRIES_SEEN] += seen
    if found >= 2 * counts[WANTED]:
        keep_newest(state, scratch)


@helper
def excluded(state: Any, scratch: Any, mark: Any, row: Any) -> Any:
    if not perhaps_excluded(scratch, mark):
        return False
    post_id = state.rows[row].post_id
    return set_has(scratch.exclude_keys, scratch.exclude_epochs, scratch.epoch[0], post_id)


@helper
def perhaps_excluded(scratch: Any, mark: Any) -> Any:
    bit = filter_bit(mark)
    return (scratch.exclude_filter[bit >> 3] >> (bit & 7)) & 1 != 0


@helper
def showable(state: Any, counts: Any, limits: Any, row: Any, kind: Any) -> Any:
    """False for reposts of deleted posts and, among videos, reposts of something else."""
    flags = state.flags[row]
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
        return np.int64(NO_ROW)
    hint = np.int64(state.reference[row]) if hinted else np.int64(NO_ROW)
    if hint >= 0 and state.rows[hint].post_id == post_id:
        return hint
    return id_map.find_row(state.post_slots, state.rows.post_id, post_id)


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
        if state.flags[source] & DEAD == 0:
            return False
        if state.rows[source].created_at_ms >= limits.cutoff_ms:
            return True
    elif source_id == 0:
        return False
    at = id_map.find(state.tomb_keys, source_id)
    if at < 0:
        return False
    status = state.tomb_values[at]
    return status & STATUS_DEAD != 0 and status >> STATUS_TIME >= limits.status_cutoff_ms


@kernel
def answer(state: Any, scratch: Any, complete: Any, posts: Any, flags: Any) -> Any:
    """Copies the newest K in order to ``posts`` [≥ K] ROW and ``flags``; returns how many they are.

    −1: of a complete walk fewer than K are left and the glance may be why; what was found is
    forgotten, and the authors are to be walked once more.
    """
    keep_newest(state, scratch)
    counts, rows = scratch.counts, scratch.found_rows
    found, wanted = counts[FOUND], counts[WANTED]
    if complete and found < wanted and scratch.limit_ms[0] != NO_LIMIT_MS:
        begin_walk(scratch, wanted)
        return -1
    for i in range(found):
        ahead = np.int64(rows[min(i + GATHER_AHEAD, found - 1)])
        prefetch(state.rows, ahead)
        prefetch(state.flags, ahead)
        posts[i] = state.rows[rows[i]]
        flags[i] = state.flags[rows[i]]
    return found
