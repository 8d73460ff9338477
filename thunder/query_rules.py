"""What a post must be to be shown, as far as that needs more than its entry.

Rules (behaviour of x-algorithm thunder, January 2026): reposts of the viewer's posts and of deleted
posts are dropped; a reply needs a parent that is an original, or one that itself replies to the
conversation's root while the replied-to user is followed.

*mark* is the entry's copy of the post's flags (`layout.ENTRY`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thunder import id_map
from thunder.compiled import helper
from thunder.layout import (
    DEAD,
    NO_ROW,
    REPLY,
    REPOST,
    SECONDARY,
    STATUS_DEAD,
    STATUS_TIME,
    VIDEO,
    VIDEOS,
)
from thunder.query_begin import perhaps_excluded, set_has
from thunder.query_scratch import (
    DEAD_SOURCES,
    EXCLUDE_MASK,
    EXCLUDED,
    FOLLOW_MASK,
    OWN_REPOSTS,
    PARENT_NOT_FOLLOWED,
    UNKNOWN_PARENT,
)


@helper
def candidate(state: Any, scratch: Any, limits: Any, mark: Any, row: Any, kind: Any) -> Any:
    """Whether a post uses up the scan window."""
    if excluded(state, scratch, mark, row):
        scratch.counts[EXCLUDED] += 1
        return False
    return mark & REPOST == 0 or showable(state, scratch.counts, limits, mark, row, kind)


@helper
def excluded(state: Any, scratch: Any, mark: Any, row: Any) -> Any:
    if not perhaps_excluded(scratch, mark):
        return False
    return set_has(scratch.exclude_keys, scratch.counts[EXCLUDE_MASK], state.rows[row].post_id)


@helper
def showable(state: Any, counts: Any, limits: Any, mark: Any, row: Any, kind: Any) -> Any:
    """False for reposts of deleted posts and, among videos, reposts of something else."""
    source_id = state.rows[row].source_post_id
    source = referred_row(state, row, source_id, True)
    if source_dead(state, limits, source, source_id):
        counts[DEAD_SOURCES] += 1
        return False
    if kind != VIDEOS or mark & VIDEO != 0:
        return True
    if source < 0 or not live(state, limits, source):
        return False
    return state.flags[source] & (VIDEO | REPLY) == VIDEO


@helper
def passes(state: Any, scratch: Any, limits: Any, mark: Any, row: Any, kind: Any) -> Any:
    """The rules that use up the scan window: reposts of the viewer, and replies."""
    if mark & (REPLY | REPOST) == 0:
        return True
    post = state.rows[row]
    if mark & REPOST != 0 and post.source_user_id == limits.viewer_id:
        scratch.counts[OWN_REPOSTS] += 1
        return False
    if kind != SECONDARY or mark & REPLY == 0:
        return True
    parent = referred_row(state, row, post.in_reply_to_post_id, mark & REPOST == 0)
    if parent < 0 or not live(state, limits, parent):
        scratch.counts[UNKNOWN_PARENT] += 1
        return False
    if state.flags[parent] & (REPLY | REPOST) == 0:
        return True
    root = post.conversation_id
    kept = (
        root != 0
        and state.rows[parent].in_reply_to_post_id == root
        and set_has(scratch.follow_keys, scratch.counts[FOLLOW_MASK], post.in_reply_to_user_id)
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
