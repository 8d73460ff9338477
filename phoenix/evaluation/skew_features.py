"""Features of a logged feed beside those that training would make of the event topics.

S history slots, C scored posts. Both sides go through training's own reader, so what is compared is
what a model would read. Two kinds of events are allowed to differ and are counted apart:

* young ones: actions of the last `fresh_ms` before the request may not have reached the feature
  store when it was asked;
* open ones: a window of actions that had begun but not ended at the request. Serving shows what
  there is of it; training leaves it out until it has ended (`phoenix.data.history`).

Posts of either kind are taken out of both histories before they are cut to the model's length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix.data.events import ActionColumns, EventColumns
from phoenix.data.history import HistoryBatch, HistoryReader
from phoenix.data.join import history_impressions
from phoenix.data.sequence import ActionSequences, aggregate, take
from phoenix.evaluation.skew_log import LoggedFeed

FRESH_MS_DEFAULT = 10_000  # the ingester's flush and Kafka's way take well below a second each
AGE_SECONDS_DIFFERENCE_MAX = 1e-3  # float32 of a month in seconds still tells a quarter second
HISTORY_FIELDS = (
    "history_mask",
    "history_post_ids",
    "history_author_ids",
    "history_actions",
    "history_dwell_seconds",
    "history_surface",
    "history_age_seconds",
)


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field of one feed; `example` shows the first difference."""

    field: str
    count: int  # slots that differ
    example: str


@dataclass(frozen=True, slots=True)
class FeatureComparison:
    """What differs in one feed, and what was allowed to."""

    differences: tuple[FieldDifference, ...]
    young_events: int
    open_events: int


class TrainingFeatures:
    """Makes features of the event topics, as training does."""

    def __init__(
        self,
        events: EventColumns,
        action_names: tuple[str, ...],
        history_length: int,
        fresh_ms: int = FRESH_MS_DEFAULT,
    ) -> None:
        actions = events.actions()
        self._actions = actions.take(np.argsort(actions.user_ids, kind="stable"))
        self._events = events
        self._action_names, self._history_length = action_names, history_length
        self._fresh_ms = fresh_ms

    def compare(self, feed: LoggedFeed) -> FeatureComparison:
        """Every field of the history and of the candidates."""
        actions = self._of_viewer(feed.viewer_id)
        at_ms = feed.served_at_ms
        young = _before(actions, at_ms, self._fresh_ms)
        whole = aggregate(actions)
        is_open = (whole.first_at_ms < at_ms) & (whole.last_at_ms >= at_ms)
        moving = np.union1d(young.post_ids, whole.post_ids[is_open])
        known = aggregate(actions.take(actions.acted_at_ms < at_ms))
        logged = self._batch(feed, feed.history, moving)
        made = self._batch(feed, known, moving)
        differences = [*_history_differences(logged, made), *self._candidates(feed)]
        return FeatureComparison(
            tuple(differences), len(np.unique(young.post_ids)), int(is_open.sum())
        )

    def _of_viewer(self, viewer_id: int) -> ActionColumns:
        """All that the viewer did up to the windows' end, whoever showed it."""
        users = self._actions.user_ids
        start, stop = np.searchsorted(users, [viewer_id, viewer_id + 1])
        return self._actions.take(np.arange(start, stop))

    def _batch(
        self, feed: LoggedFeed, events: ActionSequences, moving: NDArray[np.int64]
    ) -> HistoryBatch:
        still = take(events, np.flatnonzero(~np.isin(events.post_ids, moving)))
        return history_batch(
            still, feed.viewer_id, feed.served_at_ms, self._action_names, self._history_length
        )

    def _candidates(self, feed: LoggedFeed) -> list[FieldDifference]:
        posts, authors = self._events.originals(feed.served_post_ids, feed.served_author_ids)
        pairs = {
            "candidate_post_ids": (feed.scored_post_ids, posts),
            "candidate_author_ids": (feed.scored_author_ids, authors),
        }
        return [d for name, (a, b) in pairs.items() for d in _difference(name, a, b, a != b)]


def history_batch(
    events: ActionSequences,
    viewer_id: int,
    at_ms: int,
    action_names: tuple[str, ...],
    history_length: int,
) -> HistoryBatch:
    """Training's view [1, S] of a viewer's events at a moment. `last_at_ms` is taken as known."""
    rows = history_impressions(events, action_names)
    rows = rows.replace(known_at_ms=rows.impressed_at_ms)
    reader = HistoryReader(rows, history_length)
    return reader.read(np.array([viewer_id]), np.array([at_ms]))


def _before(actions: ActionColumns, at_ms: int, fresh_ms: int) -> ActionColumns:
    recent = (actions.acted_at_ms < at_ms) & (actions.acted_at_ms >= at_ms - fresh_ms)
    return actions.take(recent)


def _history_differences(logged: HistoryBatch, made: HistoryBatch) -> list[FieldDifference]:
    found = []
    for name in HISTORY_FIELDS:
        one, other = getattr(logged, name)[0], getattr(made, name)[0]
        differs = one != other
        if name == "history_age_seconds":
            differs = np.abs(one - other) > AGE_SECONDS_DIFFERENCE_MAX
        found += _difference(name, one, other, differs.reshape(len(one), -1).any(axis=1))
    return found


def _difference(
    name: str, one: NDArray[np.generic], other: NDArray[np.generic], differs: NDArray[np.bool_]
) -> list[FieldDifference]:
    if not differs.any():
        return []
    at = int(np.argmax(differs))
    example = f"slot {at}: served {one[at].tolist()}, training makes {other[at].tolist()}"
    return [FieldDifference(name, int(differs.sum()), example)]
