"""Raw actions of one viewer become an action sequence: one event a post and window.

``service_kit.action_windows`` says where a window opens, for training too. An event holds the union
of its actions, the greatest dwell, and time, author and surface of its first action. Events are
sorted by time, then by post id.
Glossary: R raw actions, E events.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from home_mixer.clients.protocols import ActionRows
from home_mixer.query import ActionSequence
from service_kit.action_windows import DWELL_ACTIONS, window_starts

_IS_DWELL: Final = np.isin(np.arange(256), DWELL_ACTIONS)  # by the number of an action, a byte


def aggregate(rows: ActionRows, window_ms: int) -> ActionSequence:
    """All events, oldest first."""
    if len(rows) == 0:
        return ActionSequence()
    order = np.lexsort((rows.action, rows.acted_at_ms, rows.post_id))
    posts, times = rows.post_id[order], rows.acted_at_ms[order]
    is_new = np.ones(len(posts), np.bool_)
    np.not_equal(posts[1:], posts[:-1], out=is_new[1:])
    first = np.flatnonzero(window_starts(is_new, times, window_ms))
    bits = np.uint32(1) << (rows.action[order].astype(np.uint32) - np.uint32(1))
    dwell = np.where(_IS_DWELL[rows.action], rows.seconds, np.float32(0))[order]
    oldest_first = np.lexsort((posts[first], times[first]))
    at = order[first][oldest_first]
    return ActionSequence(
        post_ids=rows.post_id[at],
        author_ids=rows.author_id[at],
        acted_at_ms=rows.acted_at_ms[at],
        action_bits=np.bitwise_or.reduceat(bits, first)[oldest_first],
        dwell_seconds=np.maximum.reduceat(dwell, first)[oldest_first],
        product_surface=rows.product_surface[at].astype(np.int8),
    )
