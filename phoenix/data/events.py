"""Served and action events as columns; the only place of training that knows protobuf.

Request ids become their ranks among all request ids of one decoder, so that nothing depends on the
order of arrival; 0 is "no request id". An event that cannot be decoded or lacks an id or a time is
left out and counted by reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from protos import actions_pb2, events_pb2

_SURFACES = frozenset(actions_pb2.ProductSurface.values())


@dataclass(frozen=True, eq=False)
class ServedColumns:
    """One row a served post, in order of arrival."""

    viewer_ids: NDArray[np.int64]
    post_ids: NDArray[np.int64]
    author_ids: NDArray[np.int64]
    served_at_ms: NDArray[np.int64]
    product_surface: NDArray[np.int64]
    requests: NDArray[np.int64]  # rank, 0: none

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> ServedColumns:
        return ServedColumns(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class ActionColumns:
    """One row an action, in order of arrival."""

    user_ids: NDArray[np.int64]
    post_ids: NDArray[np.int64]
    author_ids: NDArray[np.int64]
    actions: NDArray[np.int64]  # enum number
    acted_at_ms: NDArray[np.int64]
    product_surface: NDArray[np.int64]
    seconds: NDArray[np.float32]  # 0: none
    requests: NDArray[np.int64]  # rank, 0: none

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> ActionColumns:
        return ActionColumns(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


class EventColumns:
    """Collects events; `rejected` counts by reason what was left out."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter()
        self._requests: dict[str, int] = {"": 0}
        self._served: list[tuple[int, int, int, int, int, int]] = []
        self._actions: list[tuple[int, int, int, int, int, int, int, float]] = []
        self._reposts: dict[int, tuple[int, int]] = {}

    def add_served(self, event: events_pb2.ServedEvent) -> None:
        viewer, at_ms = event.viewer_id, event.served_at_ms
        if not viewer or at_ms <= 0:
            self.rejected["served event without viewer or time"] += 1
            return
        request = self._requests.setdefault(event.request_id, len(self._requests))
        surface = known_surface(event.product_surface)
        for post in event.posts:
            if not post.post_id:
                self.rejected["served post without id"] += 1
                continue
            row = (viewer, post.post_id, post.author_id, at_ms, surface, request)
            self._served.append(row)

    def add_action(self, event: events_pb2.ActionEvent) -> None:
        user, post, at_ms = event.user_id, event.post_id, event.acted_at_ms
        action = event.action
        if not (user and post and action) or at_ms <= 0:
            self.rejected["action without user, post, action or time"] += 1
            return
        request = event.request_id
        code = self._requests.setdefault(request, len(self._requests)) if request else 0
        surface = known_surface(event.product_surface)
        row = (user, post, event.author_id, action, at_ms, surface, code)
        self._actions.append((*row, usable_seconds(event.seconds)))

    def add_served_bytes(self, values: Iterable[bytes]) -> None:
        parse = events_pb2.ServedEvent.FromString
        for value in values:
            try:
                self.add_served(parse(value))
            except DecodeError:
                self.rejected["served event that cannot be decoded"] += 1

    def add_action_bytes(self, values: Iterable[bytes]) -> None:
        parse = events_pb2.ActionEvent.FromString
        for value in values:
            try:
                self.add_action(parse(value))
            except DecodeError:
                self.rejected["action event that cannot be decoded"] += 1

    def add_post(self, event: events_pb2.PostEvent) -> None:
        """Of posts, the join wants to know only what a repost reposts."""
        if event.HasField("create") and event.create.reposted_post_id:
            create = event.create
            post, user = self._reposts.get(create.post_id, (0, 0))  # greatest: any order, one end
            self._reposts[create.post_id] = (
                max(post, create.reposted_post_id),
                max(user, create.reposted_user_id),
            )

    def add_post_bytes(self, values: Iterable[bytes]) -> None:
        parse = events_pb2.PostEvent.FromString
        for value in values:
            try:
                self.add_post(parse(value))
            except DecodeError:
                self.rejected["post event that cannot be decoded"] += 1

    def originals(
        self, post_ids: NDArray[np.int64], author_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Posts and authors as the ranker is asked for them: a repost as its original."""
        if not self._reposts:
            return post_ids, author_ids
        reposts = np.array(sorted(self._reposts), dtype=np.uint64).astype(np.int64)
        targets = [self._reposts[post] for post in sorted(self._reposts)]
        originals, authors = np.array(targets, dtype=np.uint64).astype(np.int64).T
        at = np.minimum(np.searchsorted(reposts, post_ids), len(reposts) - 1)
        is_repost = reposts[at] == post_ids
        known = is_repost & (authors[at] != 0)
        return np.where(is_repost, originals[at], post_ids), np.where(
            known, authors[at], author_ids
        )

    def served(self) -> ServedColumns:
        viewers, posts, authors, at_ms, surfaces, requests = _columns(self._served, 6)
        ranks = self._ranks()[requests]
        return ServedColumns(viewers, posts, authors, at_ms, surfaces, ranks)

    def actions(self) -> ActionColumns:
        users, posts, authors, numbers, at_ms, surfaces, requests = _columns(
            [row[:-1] for row in self._actions], 7
        )
        seconds = np.array([row[-1] for row in self._actions], dtype=np.float32)
        ranks = self._ranks()[requests]
        return ActionColumns(users, posts, authors, numbers, at_ms, surfaces, seconds, ranks)

    def _ranks(self) -> NDArray[np.int64]:
        """Rank of each request's code; that of no request is 0."""
        ranks = np.zeros(len(self._requests), dtype=np.int64)
        ranks[[self._requests[name] for name in sorted(self._requests)]] = np.arange(len(ranks))
        return ranks


def known_surface(number: int) -> int:
    """The surface's number; one that this version does not know counts as unspecified."""
    return number if number in _SURFACES else 0


def usable_seconds(seconds: float) -> float:
    """Seconds of an action; 0 where there are none, or what came is no length of time."""
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> list[NDArray[np.int64]]:
    if not rows:
        return [np.zeros(0, dtype=np.int64) for _ in range(width)]
    # Through uint64, as ids have 64 bits.
    return list(np.array(rows, dtype=np.uint64).astype(np.int64).T.copy())
