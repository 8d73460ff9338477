"""In-memory feature stores: the plain semantics, for tests, benchmarks and as the others' oracle.

Rows live in dictionaries; columns for reading posts are built once after a write and gathered
through a table of places, so that a benchmark measures the feed and not a store. One process, no
threads, nothing on disk.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.columns import (
    POST_HEADER,
    empty_texts,
    encode_post,
    headers_of,
    post_batch,
    profile_batch,
    texts_of,
)
from home_mixer.clients.protocols import (
    ActionRows,
    FeatureClients,
    Ids,
    Mask,
    PostBatch,
    ProfileBatch,
    RequestInfo,
    UserFeatures,
    VisibilityBatch,
)
from home_mixer.clients.writes import (
    BLOCK,
    FOLLOW,
    MUTE,
    SUBSCRIBE,
    Action,
    EdgeChange,
    FeatureBatch,
    Positions,
    PostState,
    Profile,
)
from home_mixer.id_sets import IdRows, contains
from home_mixer.query import sorted_ids


class MemoryFeatureStore:
    """Every store and its writer over plain dictionaries."""

    def __init__(self, *, actions_per_user_max: int = 4096) -> None:
        self._actions_per_user_max = actions_per_user_max
        self._posts: dict[int, PostState] = {}
        self._profiles: dict[int, Profile] = {}
        self._edges: dict[tuple[int, int], dict[int, EdgeChange]] = defaultdict(dict)
        self._reverse: dict[tuple[int, int], set[int]] = defaultdict(set)
        self._keywords: dict[int, dict[str, EdgeChange]] = defaultdict(dict)
        self._actions: dict[int, dict[tuple[int, int, int], Action]] = defaultdict(dict)
        self._served: dict[int, dict[int, int]] = defaultdict(dict)
        self._requests: dict[int, RequestInfo] = {}
        self._positions: dict[tuple[str, int], int] = {}
        self._columns: tuple[IdRows, PostBatch] | None = None
        self._action_rows: dict[int, ActionRows] = {}
        self._pointing: dict[tuple[int, int], Ids] = {}
        self._features: dict[int, UserFeatures] = {}

    def clients(self) -> FeatureClients:
        """This object behind every protocol."""
        return FeatureClients(self, self, self, self, self, self, self)

    # ---- writing ----

    def apply(self, batch: FeatureBatch, positions: Positions) -> None:
        """Store rows and positions together."""
        touched = {post_id: self._posts.get(post_id) or PostState() for post_id in batch.post_ids()}
        batch.changed_posts(touched)
        self._posts.update(touched)
        self._columns = None
        self._action_rows.clear()
        self._pointing.clear()
        self._features.clear()
        for kind, user_id, target_id, change in batch.edges:
            _keep_larger(self._edges[kind, user_id], target_id, change)
            self._reverse[kind, target_id].add(user_id)
        for user_id, keyword, change in batch.keywords:
            _keep_larger(self._keywords[user_id], keyword, change)
        for user_id, profile in batch.profiles:
            _keep_larger(self._profiles, user_id, profile)
        for user_id, action in batch.actions:
            _keep_larger(self._actions[user_id], action[:3], action)
        self._positions.update(positions)

    def positions(self) -> dict[tuple[str, int], int]:
        """Positions of the last `apply`."""
        return dict(self._positions)

    def trim(self, first_post_id: int, rows_max: int) -> int:
        """Forget posts with smaller ids."""
        old = sorted(post_id for post_id in self._posts if post_id < first_post_id)[:rows_max]
        for post_id in old:
            del self._posts[post_id]
        self._columns = None
        return len(old)

    # ---- posts ----

    async def get_posts(self, post_ids: Ids) -> PostBatch:
        """Rows [B]."""
        columns, rows = self._located(post_ids)
        return PostBatch(*(getattr(columns, name).take(rows) for name in PostBatch.__slots__))

    async def get_visibility(self, post_ids: Ids) -> VisibilityBatch:
        """Rows [B]."""
        columns, rows = self._located(post_ids)
        return VisibilityBatch(columns.found[rows], columns.deleted[rows], columns.labels[rows])

    def _located(self, post_ids: Ids) -> tuple[PostBatch, NDArray[np.intp]]:
        """All posts as columns, with a row of zeros at the end, and the rows of ``post_ids``."""
        if self._columns is None:
            known = np.array(sorted(self._posts), np.uint64)
            values = [encode_post(self._posts[int(post_id)]) for post_id in known]
            headers = np.append(headers_of(values), np.zeros(1, POST_HEADER))
            texts = np.append(texts_of(values), empty_texts(1))
            self._columns = IdRows(known), post_batch(headers, texts)
        known_rows, columns = self._columns
        found, rows = known_rows.find(post_ids)
        return columns, np.where(found, rows, len(columns.found) - 1)

    # ---- users ----

    async def get_profiles(self, user_ids: Ids) -> ProfileBatch:
        """Rows [B]."""
        rows = [self._profiles.get(user_id) for user_id in user_ids.tolist()]
        return profile_batch(rows)

    async def get_features(self, user_id: int) -> UserFeatures:
        """The viewer's lists."""
        features = self._features.get(user_id)
        if features is None:
            features = self._features[user_id] = self._read_features(user_id)
        return features

    def _read_features(self, user_id: int) -> UserFeatures:
        keywords = self._keywords.get(user_id, {})
        return UserFeatures(
            followed_user_ids=self._live(FOLLOW, user_id),
            blocked_user_ids=self._live(BLOCK, user_id),
            muted_user_ids=self._live(MUTE, user_id),
            subscribed_user_ids=self._live(SUBSCRIBE, user_id),
            muted_keywords=tuple(sorted(word for word, e in keywords.items() if not e.removed)),
        )

    async def blocks_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]."""
        return self._points_at(BLOCK, user_id, author_ids)

    async def follows_viewer(self, user_id: int, author_ids: Ids) -> Mask:
        """[B]."""
        return self._points_at(FOLLOW, user_id, author_ids)

    def _points_at(self, kind: int, user_id: int, author_ids: Ids) -> Mask:
        pointing = self._pointing.get((kind, user_id))
        if pointing is None:
            pointing = sorted_ids(
                source
                for source in self._reverse.get((kind, user_id), ())
                if not self._edges[kind, source][user_id].removed
            )
            self._pointing[kind, user_id] = pointing
        return contains(pointing, author_ids)

    def _live(self, kind: int, user_id: int) -> Ids:
        edges = self._edges.get((kind, user_id), {})
        return np.array(sorted(t for t, edge in edges.items() if not edge.removed), np.uint64)

    async def newest_actions(self, user_id: int, limit: int) -> ActionRows:
        """At most ``limit`` rows, oldest first."""
        every = self._action_rows.get(user_id)
        if every is None:
            rows = sorted(self._actions.get(user_id, {}).values(), key=lambda action: action[:3])
            every = self._action_rows[user_id] = action_rows(rows)
        start = max(0, len(every) - min(limit, self._actions_per_user_max))
        return ActionRows(*(getattr(every, name)[start:] for name in ActionRows.__slots__))

    # ---- what was served ----

    async def served_since(self, viewer_id: int, since_ms: int, limit: int) -> Ids:
        """Newest first."""
        rows = sorted(
            (
                (at_ms, p)
                for p, at_ms in self._served.get(viewer_id, {}).items()
                if at_ms >= since_ms
            ),
            reverse=True,
        )
        return np.array([post_id for _, post_id in rows[:limit]], np.uint64)

    async def add_served(self, viewer_id: int, post_ids: Ids, served_at_ms: int) -> None:
        """Newest time of a post wins."""
        for post_id in post_ids.tolist():
            _keep_larger(self._served[viewer_id], post_id, served_at_ms)

    async def put_request(self, viewer_id: int, info: RequestInfo) -> None:
        """Newest wins."""
        old = self._requests.get(viewer_id)
        if old is None or info.served_at_ms >= old.served_at_ms:
            self._requests[viewer_id] = info

    async def get_request(self, viewer_id: int) -> RequestInfo | None:
        """None: nothing served yet."""
        return self._requests.get(viewer_id)


def action_rows(rows: list[Action]) -> ActionRows:
    """Columns of actions in the given order."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(Action._fields)
    return ActionRows(
        acted_at_ms=np.array(columns[0], np.int64),
        post_id=np.array(columns[1], np.uint64),
        action=np.array(columns[2], np.uint8),
        author_id=np.array(columns[3], np.uint64),
        product_surface=np.array(columns[4], np.uint8),
        seconds=np.array(columns[5], np.float32),
    )


def _keep_larger(rows: dict[Any, Any], key: object, value: Any) -> None:
    """The convergence law of every row that is a tuple starting with its event time."""
    old = rows.get(key)
    if old is None or value > old:
        rows[key] = value
