"""Logged feeds: what the ranker was given and what it answered, read from the served events.

S history events, C scored posts, A = 25 actions of the list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from phoenix.data.events import EventColumns
from phoenix.data.sequence import ActionSequences
from protos import events_pb2
from service_kit.action_list import ACTION_NAMES
from service_kit.event_log import (
    TOPIC_ACTIONS,
    TOPIC_POSTS,
    TOPIC_SERVED,
    EventSource,
    records_until_now,
)


@dataclass(frozen=True, eq=False)
class LoggedFeed:
    """One served feed of which the features were kept."""

    viewer_id: int
    request_id: str
    served_at_ms: int
    context_at_ms: int  # from which the history's ages were counted
    product_surface: int
    model_version: str
    history: ActionSequences  # [S], oldest first; last_at_ms is not known and equals first_at_ms
    served_post_ids: NDArray[np.int64]  # [C], of reposts their own
    served_author_ids: NDArray[np.int64]  # [C]
    scored_post_ids: NDArray[np.int64]  # [C], of reposts their originals
    scored_author_ids: NDArray[np.int64]  # [C]
    scored_video_duration_ms: NDArray[np.int64]  # [C], 0: no video
    log_probs: NDArray[np.float32]  # [C, A], nan: the model has no such head
    dwell_seconds: NDArray[np.float32]  # [C], as predicted


@dataclass(slots=True)
class SkewLog:
    """The log as the check needs it."""

    feeds: dict[str, LoggedFeed] = field(default_factory=dict)  # by request id: doubles are one
    events: EventColumns = field(default_factory=EventColumns)  # actions and posts
    served: int = 0  # served events, with features or without
    unusable: Counter[str] = field(default_factory=Counter)

    def add_served_bytes(self, values: Iterable[bytes]) -> None:
        for value in values:
            try:
                event = events_pb2.ServedEvent.FromString(value)
            except DecodeError:
                self.unusable["served event that cannot be decoded"] += 1
                continue
            self.served += 1
            if event.HasField("features"):
                self._add_feed(event)

    def _add_feed(self, event: events_pb2.ServedEvent) -> None:
        try:
            self.feeds[event.request_id] = logged_feed(event)
        except ValueError as error:
            self.unusable[str(error)] += 1


async def read_skew_log(source: EventSource) -> SkewLog:
    """Everything that the topics hold now. Does not close the source."""
    log = SkewLog()
    async for records in records_until_now(source):
        log.add_served_bytes(r.value for r in records if r.topic == TOPIC_SERVED)
        log.events.add_action_bytes(r.value for r in records if r.topic == TOPIC_ACTIONS)
        log.events.add_post_bytes(r.value for r in records if r.topic == TOPIC_POSTS)
    return log


def logged_feed(event: events_pb2.ServedEvent) -> LoggedFeed:
    """The feed of an event with features. ValueError: lists of it do not fit one another."""
    given = event.features
    sizes = {
        *(len(given.history_post_ids), len(given.history_author_ids), len(given.history_ago_ms)),
        *(len(given.history_action_bits), len(given.history_dwell_seconds)),
        len(given.history_surfaces),
    }
    if len(sizes) > 1:
        raise ValueError("features whose history has columns of several lengths")
    scored = (given.scored_post_ids, given.scored_author_ids, given.scored_video_duration_ms)
    if {len(column) for column in scored} != {len(event.posts)}:
        raise ValueError("features of other posts than those that were served")
    if not event.posts or any(len(p.log_probs) != len(ACTION_NAMES) for p in event.posts):
        raise ValueError("features of posts without predictions")
    return LoggedFeed(
        viewer_id=_ids([event.viewer_id])[0],
        request_id=event.request_id,
        served_at_ms=event.served_at_ms,
        context_at_ms=given.context_at_ms,
        product_surface=event.product_surface,
        model_version=event.model_version,
        history=_history(event),
        served_post_ids=_ids([post.post_id for post in event.posts]),
        served_author_ids=_ids([post.author_id for post in event.posts]),
        scored_post_ids=_ids(given.scored_post_ids),
        scored_author_ids=_ids(given.scored_author_ids),
        scored_video_duration_ms=np.array(given.scored_video_duration_ms, np.int64),
        log_probs=np.array([post.log_probs for post in event.posts], np.float32),
        dwell_seconds=np.array([post.dwell_seconds for post in event.posts], np.float32),
    )


def _history(event: events_pb2.ServedEvent) -> ActionSequences:
    given = event.features
    first_at_ms = event.served_at_ms - np.array(given.history_ago_ms, np.int64)
    bits = np.array(given.history_action_bits, np.uint32)[:, None]
    dwell = np.array(given.history_dwell_seconds, np.float32)
    return ActionSequences(
        user_ids=np.full(len(first_at_ms), _ids([event.viewer_id])[0]),
        post_ids=_ids(given.history_post_ids),
        author_ids=_ids(given.history_author_ids),
        first_at_ms=first_at_ms,
        last_at_ms=first_at_ms,
        actions=(bits >> np.arange(len(ACTION_NAMES), dtype=np.uint32) & 1).astype(np.bool_),
        dwell_seconds=np.where(dwell > 0, dwell, np.float32(np.nan)),
        product_surface=np.array(given.history_surfaces, np.int64),
    )


def _ids(numbers: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(numbers), np.uint64).astype(np.int64)
