"""The beginning of a query: sets of what it names, its authors' slots, and how old its last post
will be, about.

The age is learnt at a glance: of some authors' entries, counted by age, without reading a row.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder import id_map
from thunder.compiled import helper, prefetch
from thunder.layout import (
    DEAD,
    HIDDEN,
    ORIGINALS,
    REPLY,
    SECONDARY,
    VIDEO,
    VIDEOS,
)
from thunder.query_scratch import (
    AGAIN,
    AGES,
    COUNTS,
    EXCLUDE_MASK,
    FILTER_BITS,
    FOLLOW_MASK,
    FOUND,
    REPLIES_SEEN,
    SLICE,
    WANTED,
)
from thunder.selection import NO_LIMIT_MS

# The glance: of at most so many authors; replies count as a part, for some are dropped; and a
# margin for reposts of deleted posts and, where not all authors are looked at, for chance.
GLANCE_AUTHORS_MAX: Final = 1 << 8
REPLIES_PER_POST: Final = 4  # at least one in four is shown, else the query walks twice
GLANCE_MARGIN: Final = 32
FINER_BITS: Final = 9  # a limit in the first 8 of 4,096 buckets is sought again in finer ones
SET_SLOTS_MIN: Final = 64


@helper
def emptied(keys: Any, count: Any) -> Any:
    """Empties as many slots of a set as ``count`` ids need, at most a quarter full; their mask."""
    slots = SET_SLOTS_MIN
    while slots < 4 * count:
        slots *= 2
    keys[:slots] = 0
    return slots - 1


@helper
def set_add(keys: Any, mask: Any, key: Any) -> Any:
    """Adds ``key``; False where it was there already."""
    slot = np.int64(id_map.mixed(key)) & mask
    while keys[slot] != 0:
        if keys[slot] == key:
            return False
        slot = (slot + 1) & mask
    keys[slot] = key
    return True


@helper
def set_has(keys: Any, mask: Any, key: Any) -> Any:
    slot = np.int64(id_map.mixed(key)) & mask
    while keys[slot] != 0:
        if keys[slot] == key:
            return True
        slot = (slot + 1) & mask
    return False


@helper
def prepare(
    state: Any, scratch: Any, limits: Any, following: Any, excluded_ids: Any, videos: Any
) -> Any:
    """Starts a query; returns how many different authors it names."""
    authors = fill_sets(scratch, following, excluded_ids)
    find_authors(state, scratch, authors, videos)
    glance(state, scratch, limits, authors, videos)
    return authors


@helper
def fill_sets(scratch: Any, following: Any, excluded_ids: Any) -> Any:
    counts = scratch.counts
    counts[FOLLOW_MASK] = emptied(scratch.follow_keys, following.size)
    counts[EXCLUDE_MASK] = emptied(scratch.exclude_keys, excluded_ids.size)
    follow_mask, exclude_mask = counts[FOLLOW_MASK], counts[EXCLUDE_MASK]
    authors = 0
    for author in following:
        if author != 0 and set_add(scratch.follow_keys, follow_mask, author):
            scratch.authors[authors] = author
            authors += 1
    scratch.exclude_filter[:] = 0
    for post_id in excluded_ids:
        if post_id != 0:
            set_add(scratch.exclude_keys, exclude_mask, post_id)
            bit = filter_bit(id_map.mark_of(post_id, 0))
            scratch.exclude_filter[bit >> 3] |= np.uint8(1 << (bit & 7))
    return authors


@helper
def filter_bit(mark: Any) -> Any:
    return np.int64(mark >> np.uint32(8)) & (FILTER_BITS - 1)


@helper
def perhaps_excluded(scratch: Any, mark: Any) -> Any:
    bit = filter_bit(mark)
    return (scratch.exclude_filter[bit >> 3] >> (bit & 7)) & 1 != 0


@helper
def begin_walk(scratch: Any, wanted: Any) -> None:
    scratch.counts[:COUNTS] = 0
    scratch.counts[WANTED] = wanted
    scratch.limit_ms[0] = NO_LIMIT_MS


@helper
def begin_again(scratch: Any, limits: Any) -> None:
    """Forgets what was found below a limit: once more to twice the age, then without a limit."""
    limit_ms = limits.now_ms - 2 * (limits.now_ms - scratch.limit_ms[0])
    again = scratch.counts[AGAIN]
    begin_walk(scratch, scratch.counts[WANTED])
    scratch.counts[AGAIN] = again + 1
    if again == 0 and limit_ms > limits.cutoff_ms:
        scratch.limit_ms[0] = limit_ms


@helper
def find_authors(state: Any, scratch: Any, authors: Any, videos: Any) -> None:
    """Slots of all authors, −1 for those without posts. What a slice reads was asked for while
    the slices before were read; and their newest entries are asked for already."""
    ids, slots, index = scratch.authors, scratch.slots, state.author_slots
    for ahead in range(0, authors + 2 * SLICE, SLICE):
        for i in range(ahead, min(authors, ahead + SLICE)):
            prefetch(index, id_map.home(index, ids[i]))
        for i in range(max(0, ahead - SLICE), min(authors, ahead)):
            at_home = np.int64(index[id_map.home(index, ids[i])])
            prefetch(state.authors, max(at_home - 1, 0))
        for i in range(max(0, ahead - 2 * SLICE), min(authors, ahead - SLICE)):
            slots[i] = id_map.find_row(index, state.authors.author_id, ids[i])
            ask_for_entries(state, np.int64(slots[i]), videos)


@helper
def ask_for_entries(state: Any, slot: Any, videos: Any) -> None:
    if slot < 0:
        return
    author = state.authors[slot]
    if videos:
        ask_for_newest(state, author.first[VIDEOS] + author.length[VIDEOS] - 1)
    else:
        ask_for_newest(state, author.first[ORIGINALS] + author.length[ORIGINALS] - 1)
        ask_for_newest(state, author.first[SECONDARY] + author.length[SECONDARY] - 1)


@helper
def ask_for_newest(state: Any, newest: Any) -> None:
    prefetch(state.entries, newest)
    prefetch(state.entries, newest - 3)  # the cache line before, unless that one is full


@helper
def glance(state: Any, scratch: Any, limits: Any, authors: Any, videos: Any) -> None:
    """Learns how old the K-th newest post will be, about, from what entries alone say."""
    wanted = limits.results_max
    begin_walk(scratch, wanted)
    scratch.counts[AGAIN] = 0
    step = (authors + GLANCE_AUTHORS_MAX - 1) // GLANCE_AUTHORS_MAX
    if step == 0:
        return
    margin = GLANCE_MARGIN if step == 1 else GLANCE_MARGIN + wanted // (8 * step)
    share = wanted // step + margin
    shift = 0
    while (limits.now_ms - limits.cutoff_ms) >> shift >= AGES:
        shift += 1
    age = count_ages(state, scratch, limits, authors, videos, step, share, shift)
    if 0 <= age < AGES >> FINER_BITS and shift > FINER_BITS:
        count_ages(state, scratch, limits, authors, videos, step, share, shift - FINER_BITS)


@helper
def count_ages(
    state: Any,
    scratch: Any,
    limits: Any,
    authors: Any,
    videos: Any,
    step: Any,
    share: Any,
    shift: Any,
) -> Any:
    """One glance, in buckets of 2^shift ms, at what the limit lets through; sets the limit and
    returns the bucket in which it lies, −1 where too few posts were seen for one."""
    scratch.ages[:] = 0
    counts, age = scratch.counts, -1
    for first in range(0, authors, SLICE * step):
        for i in range(first, min(authors, first + SLICE * step), step):
            slot = np.int64(scratch.slots[i])
            if slot < 0:
                continue
            if videos:
                glance_at(state, scratch, limits, slot, VIDEOS, limits.videos_max, shift)
            else:
                glance_at(state, scratch, limits, slot, ORIGINALS, limits.originals_max, shift)
                glance_at(state, scratch, limits, slot, SECONDARY, limits.secondary_max, shift)
        if counts[FOUND] >= share:
            age = limit_age(scratch, limits, share, shift)
    counts[FOUND] = 0
    counts[REPLIES_SEEN] = 0
    return age


@helper
def limit_age(scratch: Any, limits: Any, share: Any, shift: Any) -> Any:
    """The age, in buckets, that ``share`` posts of those counted by age have at most."""
    age, younger = 0, np.int64(scratch.ages[0])
    while younger < share:
        age += 1
        younger += scratch.ages[age]
    scratch.limit_ms[0] = limits.now_ms - ((age + 1) << shift) + 1
    return age


@helper
def glance_at(
    state: Any, scratch: Any, limits: Any, slot: Any, kind: Any, left: Any, shift: Any
) -> None:
    """Counts one segment's posts that may pass by age, as if rules that read rows all held."""
    author = state.authors[slot]
    first = author.first[kind]
    at = first + author.length[kind] - 1
    oldest_ms = max(limits.cutoff_ms, scratch.limit_ms[0])
    replies, found = scratch.counts[REPLIES_SEEN], scratch.counts[FOUND]
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
            replies += 1
            if replies % REPLIES_PER_POST != 0:
                continue
        left -= 1
        found += 1
        scratch.ages[(limits.now_ms - created_ms) >> shift] += 1
    scratch.counts[REPLIES_SEEN], scratch.counts[FOUND] = replies, found
