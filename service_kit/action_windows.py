"""One rule for training and serving: which of a viewer's actions open a window of history.

The actions on one post, in order of time, open a window at the first of them; what follows less
than ``window_ms`` after that belongs to the same event, the next action opens a new window. Source:
the original's user action sequence hydrator, January 2026. Histories that a model is trained on
and those it is served with must not differ, so both call this.
Glossary: R raw actions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service_kit.action_list import ACTION_INDEX

UAS_WINDOW_TIME_MS = 300_000  # x-algorithm, parameters of January 2026
# Their seconds are time spent on the post; those of click_dwell_time are spent behind a click.
DWELL_ACTIONS = (ACTION_INDEX["dwell"] + 1, ACTION_INDEX["dwell_time"] + 1)


def window_starts(
    opens_group: NDArray[np.bool_], times_ms: NDArray[np.int64], window_ms: int
) -> NDArray[np.bool_]:
    """[R]: which rows open a window.

    opens_group [R]: True where another post (or viewer) begins; times_ms [R] ascend within one.
    """
    if not len(times_ms):
        return np.zeros(0, np.bool_)
    # A row so late after the one before it opens a window wherever that one's window began.
    late = _since(times_ms[1:], times_ms[:-1]) >= np.uint64(max(window_ms, 0))
    opens = opens_group.copy()
    opens[1:] |= late
    opened_ms = times_ms[opens].take(opens.cumsum() - 1)
    if (_since(times_ms, opened_ms) < np.uint64(max(window_ms, 1))).all():
        return opens
    return _walked(opens, times_ms, window_ms)


def _walked(
    opens_group: NDArray[np.bool_], times_ms: NDArray[np.int64], window_ms: int
) -> NDArray[np.bool_]:
    """The same for any rows. All groups walk to their next window together."""
    group = np.cumsum(opens_group) - 1
    starts = np.flatnonzero(opens_group)
    ends = np.append(starts[1:], len(times_ms))[group]
    # One ascending number a row: its group, then the rank of its time, so that no time overflows.
    distinct = np.unique(times_ms)
    keys = group * (len(distinct) + 1)
    ordered = keys + np.searchsorted(distinct, times_ms)
    following = np.searchsorted(ordered, keys + np.searchsorted(distinct, times_ms + window_ms))
    opens = np.zeros(len(times_ms), np.bool_)
    while len(starts):
        opens[starts] = True
        further = following[starts]
        starts = further[further < ends[starts]]
    return opens


def _since(later_ms: NDArray[np.int64], earlier_ms: NDArray[np.int64]) -> NDArray[np.uint64]:
    """[R]: milliseconds between, unsigned, so that no pair of times overflows."""
    return later_ms.view(np.uint64) - earlier_ms.view(np.uint64)
