"""What a viewer had done strictly before a moment: the newest S events, right-anchored.

B contexts, S history slots, A actions. An event is an impression row with `in_history` and at least
one positive label or a known dwell (`include_all` keeps plain impressions too).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix.data.ages import UNKNOWN_AGE_SECONDS
from phoenix.data.grouped import GroupedTimes
from phoenix.data.impressions import Impressions


@dataclass(frozen=True, eq=False)
class HistoryBatch:
    """Viewers with their histories; newest event last, padding (id 0, mask False) at the start."""

    viewer_ids: NDArray[np.int64]  # [B], 0: padding
    history_post_ids: NDArray[np.int64]  # [B, S]
    history_author_ids: NDArray[np.int64]  # [B, S]
    history_actions: NDArray[np.float32]  # [B, S, A]
    history_dwell_seconds: NDArray[np.float32]  # [B, S], 0: unknown or padding
    history_surface: NDArray[np.int32]  # [B, S]
    history_age_seconds: NDArray[np.float32]  # [B, S] context − event time; 0 padding, -1 unknown
    history_mask: NDArray[np.bool_]  # [B, S] True where there is an event
    history_tags: NDArray[np.int64] | None = None  # [B, S, G], 0: none
    history_duration_seconds: NDArray[np.float32] | None = None  # [B, S] of the posts, -1: unknown


class HistoryReader:
    """Answers histories for many (viewer, time) pairs at once."""

    def __init__(
        self, impressions: Impressions, history_length: int, include_all: bool = False
    ) -> None:
        if history_length < 1:
            raise ValueError(f"history_length is {history_length}, expected at least 1")
        self._length = history_length
        self._viewers = np.unique(impressions.viewer_ids)
        events = _events(impressions, include_all)
        self._events = events
        group = np.searchsorted(self._viewers, events.viewer_ids).astype(np.int64)
        self._known_ms = np.maximum(events.known_at_ms, events.impressed_at_ms)
        by_known = np.lexsort((self._known_ms, group))
        count = len(self._viewers)
        self._by_time = GroupedTimes(group, events.impressed_at_ms, count)
        self._by_known = GroupedTimes(group[by_known], self._known_ms[by_known], count)

    def read(self, viewer_ids: NDArray[np.int64], at_ms: NDArray[np.int64]) -> HistoryBatch:
        """Histories [B, S] of viewers strictly before their times; unknown viewers have none."""
        rows = self._rows(viewer_ids, at_ms)
        mask = rows >= 0
        events = self._events
        if len(events) == 0:
            return _empty_histories(viewer_ids, self._length, len(events.action_names))
        at = np.where(mask, rows, 0)
        event_ms = events.impressed_at_ms[at]
        known_time = (event_ms > 0) & (at_ms[:, None] > 0)
        age = np.where(known_time, (at_ms[:, None] - event_ms) / 1000.0, UNKNOWN_AGE_SECONDS)
        posts, catalogue = np.where(mask, events.post_ids[at], 0), events.catalogue
        return HistoryBatch(
            viewer_ids=viewer_ids,
            history_post_ids=posts,
            history_author_ids=np.where(mask, events.author_ids[at], 0),
            history_actions=events.labels[at] * mask[:, :, None],
            history_dwell_seconds=np.where(mask, np.nan_to_num(events.dwell_seconds[at]), 0),
            history_surface=np.where(mask, events.product_surface[at], 0).astype(np.int32),
            history_age_seconds=np.where(mask, age, 0.0).astype(np.float32),
            history_mask=mask,
            history_tags=None if catalogue is None else catalogue.tags_of(posts),
            history_duration_seconds=None if catalogue is None else catalogue.duration_of(posts),
        )

    def _rows(self, viewer_ids: NDArray[np.int64], at_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Event rows [B, S], newest last, -1 where there is none."""
        if len(self._viewers) == 0:
            return np.full((len(viewer_ids), self._length), -1, dtype=np.int64)
        group = np.minimum(np.searchsorted(self._viewers, viewer_ids), len(self._viewers) - 1)
        found = self._viewers[group] == viewer_ids
        start = self._by_time.starts[group]
        end = np.where(found, self._by_time.first_at_or_after(group, at_ms), start)
        known = np.where(found, self._by_known.first_at_or_after(group, at_ms), start)
        # Events begun but not complete by then; the window is widened by them, then they are cut.
        pending_max = int((end - known).max(initial=0))
        width = self._length + pending_max
        rows = end[:, None] + np.arange(-width, 0)
        valid = rows >= start[:, None]
        if pending_max:
            valid &= self._known_ms[np.maximum(rows, 0)] < at_ms[:, None]
            right = np.argsort(valid, axis=1, kind="stable")[:, -self._length :]
            rows = np.take_along_axis(rows, right, axis=1)
            valid = np.take_along_axis(valid, right, axis=1)
        return np.where(valid, rows, -1)


def _events(impressions: Impressions, include_all: bool) -> Impressions:
    is_event = impressions.in_history.copy()
    if not include_all:
        is_event &= impressions.labels.any(axis=1) | np.isfinite(impressions.dwell_seconds)
    return impressions.take(is_event)


def _empty_histories(viewer_ids: NDArray[np.int64], length: int, actions: int) -> HistoryBatch:
    shape = (len(viewer_ids), length)
    return HistoryBatch(
        viewer_ids=viewer_ids,
        history_post_ids=np.zeros(shape, dtype=np.int64),
        history_author_ids=np.zeros(shape, dtype=np.int64),
        history_actions=np.zeros((*shape, actions), dtype=np.float32),
        history_dwell_seconds=np.zeros(shape, dtype=np.float32),
        history_surface=np.zeros(shape, dtype=np.int32),
        history_age_seconds=np.zeros(shape, dtype=np.float32),
        history_mask=np.zeros(shape, dtype=np.bool_),
    )
