"""Raw actions of one viewer become an action sequence: one event a post and window.

``service_kit.action_windows`` says where a window opens, for training too. An event holds the union
of its actions, the greatest dwell, and time, author and surface of its first action. Events are
sorted by time, then by post id.
Glossary: R raw actions, E events.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.protocols import ActionRows
from home_mixer.query import ActionSequence
from service_kit.action_windows import DWELL_ACTIONS, window_starts


def aggregate(rows: ActionRows, window_ms: int) -> ActionSequence:
    """All events, oldest first."""
    if len(rows) == 0:
        return ActionSequence()
    order = np.lexsort((rows.action, rows.acted_at_ms, rows.post_id))
    posts, times = rows.post_id[order], rows.acted_at_ms[order]
    opens = window_starts(np.r_[True, posts[1:] != posts[:-1]], times, window_ms)
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


def _greatest(
    seconds: NDArray[np.float32], event: NDArray[np.intp], count: int
) -> NDArray[np.float32]:
    greatest = np.zeros(count, np.float32)
    np.maximum.at(greatest, event, seconds)
    return greatest
