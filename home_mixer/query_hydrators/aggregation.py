"""Raw actions of one viewer become an action sequence: one event a post and window.

The actions of one post, in order of time, open a window at the first of them; what follows less
than ``window_ms`` after that belongs to the same event, the next one opens a new window. An event
holds the union of its actions, the greatest dwell, and time, author and surface of its first
action. Events are sorted by time, then by post id. Source: the original's user action sequence
hydrator, January 2026; training reads its histories by the same rule.
Glossary: R raw actions, E events.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.protocols import ActionRows
from home_mixer.query import ActionSequence
from service_kit.action_list import ACTION_INDEX

# Their seconds are time spent on the post; those of click_dwell_time are spent behind a click.
DWELL_ACTIONS = (ACTION_INDEX["dwell"] + 1, ACTION_INDEX["dwell_time"] + 1)


def aggregate(rows: ActionRows, window_ms: int) -> ActionSequence:
    """All events, oldest first."""
    if len(rows) == 0:
        return ActionSequence()
    order = np.lexsort((rows.action, rows.acted_at_ms, rows.post_id))
    posts, times = rows.post_id[order], rows.acted_at_ms[order]
    opens = window_starts(posts, times, window_ms)
    first = np.flatnonzero(opens)
    event = np.cumsum(opens) - 1
    bits = np.uint32(1) << (rows.action[order].astype(np.uint32) - np.uint32(1))
    dwell = np.where(np.isin(rows.action, DWELL_ACTIONS), rows.seconds, np.float32(0))[order]
    oldest_first = np.lexsort((posts[first], times[first]))
    at = order[first][oldest_first]
    return ActionSequence(
        post_ids=rows.post_id[at],
        author_ids=rows.author_id[at],
        acted_at_ms=rows.acted_at_ms[at],
        action_bits=np.bitwise_or.reduceat(bits, first)[oldest_first],
        dwell_seconds=_greatest(dwell, event, len(first))[oldest_first],
        product_surface=rows.product_surface[at].astype(np.int8),
    )


def window_starts(
    posts: NDArray[np.uint64], times: NDArray[np.int64], window_ms: int
) -> NDArray[np.bool_]:
    """[R]: which rows, sorted by post and time, open a window. All posts walk together."""
    first = np.r_[True, posts[1:] != posts[:-1]]
    group = np.cumsum(first) - 1
    starts = np.flatnonzero(first)
    ends = np.r_[starts[1:], len(posts)][group]
    # one ascending number a row: the post's place, then the time; the spread keeps posts apart
    since = times - times.min()
    window_ms = min(window_ms, int(since.max()) + 1)  # a longer one holds all rows just as well
    ordered = group * (int(since.max()) + window_ms + 1) + since
    following = np.searchsorted(ordered, ordered + window_ms)  # first row outside its window
    opens = np.zeros(len(posts), np.bool_)
    while len(starts):
        opens[starts] = True
        further = following[starts]
        starts = further[further < ends[starts]]
    return opens


def _greatest(
    seconds: NDArray[np.float32], event: NDArray[np.intp], count: int
) -> NDArray[np.float32]:
    greatest = np.zeros(count, np.float32)
    np.maximum.at(greatest, event, seconds)
    return greatest
