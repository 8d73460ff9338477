"""A viewer's action sequence: raw actions of one post within a window become one event.

The rule (behaviour of the original's user action sequence hydrator, January 2026):

1. Exact duplicates (same user, post, action and millisecond) count once.
2. The actions of one user on one post, in order of time, open a window at the first of them. What
   follows less than UAS_WINDOW_TIME_MS after that first action belongs to the same event; the next
   one outside opens a new window and so a new event.
3. An event holds the union of its actions, the greatest dwell in seconds (unknown if no action
   gave one), the surface and author of its first action, and the time of its first action.
4. Events are sorted by that time, then by post id; the last N are kept.

An event is complete at its last action, `last_at_ms`; training lets contexts see it only
strictly after that, so that no action enters a history before it happened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix.data.events import ActionColumns
from phoenix.data.grouped import pair_codes
from service_kit.action_list import ACTION_NAMES
from service_kit.action_windows import DWELL_ACTIONS, UAS_WINDOW_TIME_MS, window_starts


@dataclass(frozen=True, eq=False)
class ActionSequences:
    """M events sorted by (user, first action, post)."""

    user_ids: NDArray[np.int64]  # [M]
    post_ids: NDArray[np.int64]  # [M]
    author_ids: NDArray[np.int64]  # [M]
    first_at_ms: NDArray[np.int64]  # [M]
    last_at_ms: NDArray[np.int64]  # [M]
    actions: NDArray[np.bool_]  # [M, number of ACTION_NAMES], position = enum number − 1
    dwell_seconds: NDArray[np.float32]  # [M], nan: unknown
    product_surface: NDArray[np.int64]  # [M]

    def __len__(self) -> int:
        return len(self.user_ids)


def without_duplicates(actions: ActionColumns) -> ActionColumns:
    """Sorted by (user, post, time, action), each such key once, with its greatest seconds."""
    keys = (actions.actions, actions.acted_at_ms, actions.post_ids, actions.user_ids)
    content = (actions.product_surface, actions.author_ids, -actions.requests, -actions.seconds)
    order = np.lexsort((*content, *keys))
    ordered = actions.take(order)
    repeated = np.zeros(len(order), dtype=np.bool_)
    repeated[1:] = (
        (np.diff(ordered.user_ids) == 0)
        & (np.diff(ordered.post_ids) == 0)
        & (np.diff(ordered.acted_at_ms) == 0)
        & (np.diff(ordered.actions) == 0)
    )
    return ordered.take(~repeated)


def aggregate(actions: ActionColumns, window_ms: int = UAS_WINDOW_TIME_MS) -> ActionSequences:
    """All users' events by the rule above (steps 1 to 3, sorted as in 4)."""
    rows = without_duplicates(actions)
    pairs, _ = pair_codes(rows.user_ids, rows.post_ids)
    first = window_starts(np.diff(pairs, prepend=-1) != 0, rows.acted_at_ms, window_ms)
    event = np.cumsum(first) - 1
    starts = np.flatnonzero(first)
    count = len(starts)
    multi_hot = np.zeros((count, len(ACTION_NAMES)), dtype=np.bool_)
    known = rows.actions <= len(ACTION_NAMES)
    timed = gives_dwell(rows.actions)
    multi_hot[event[known], rows.actions[known] - 1] = True
    last = np.append(starts[1:], len(first)) - 1 if count else starts
    columns = ActionSequences(
        user_ids=rows.user_ids[starts],
        post_ids=rows.post_ids[starts],
        author_ids=rows.author_ids[starts],
        first_at_ms=rows.acted_at_ms[starts],
        last_at_ms=rows.acted_at_ms[last],
        actions=multi_hot,
        dwell_seconds=greatest_seconds(rows.seconds[timed], event[timed], count),
        product_surface=rows.product_surface[starts],
    )
    return take(columns, np.lexsort((columns.post_ids, columns.first_at_ms, columns.user_ids)))


def keep_last(sequences: ActionSequences, count: int) -> ActionSequences:
    """The newest `count` events of every user."""
    if len(sequences) == 0:
        return sequences
    users = sequences.user_ids
    end = np.searchsorted(users, users, side="right")
    return take(sequences, np.flatnonzero(end - np.arange(len(users)) <= count))


def take(sequences: ActionSequences, index: NDArray[np.int64]) -> ActionSequences:
    names = ActionSequences.__dataclass_fields__
    return ActionSequences(*(getattr(sequences, name)[index] for name in names))


def gives_dwell(actions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an action's seconds are dwell on the post."""
    return np.isin(actions, DWELL_ACTIONS)


def greatest_seconds(
    seconds: NDArray[np.float32], event: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """Greatest positive seconds of each of `count` events; nan where there are none."""
    greatest = np.full(count, np.nan, dtype=np.float32)
    given = (seconds > 0) & np.isfinite(seconds)
    np.fmax.at(greatest, event[given], seconds[given])
    return greatest
