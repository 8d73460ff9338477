"""The store as plainly in Python as the original's: an object a post, lists by author.

Posts in a dictionary, per author and kind a list of (id, time), deleted ids in a set. A query walks
each author's lists newest first, looks every post up, sorts all by time and cuts. Rules and caps
as thunder's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.store.workload import Request, World
from thunder.layout import REPLY, REPOST, VIDEO
from thunder.query_kernels import SCAN_MAX
from thunder.store import ORIGINALS_PER_AUTHOR_MAX, SECONDARY_PER_AUTHOR_MAX

CHUNK = 100_000  # rows made into Python numbers at once

Timelines = dict[int, list[tuple[int, int]]]


@dataclass(slots=True)
class LightPost:
    post_id: int
    author_id: int
    created_at_ms: int
    in_reply_to_post_id: int
    in_reply_to_user_id: int
    source_post_id: int
    source_user_id: int
    conversation_id: int
    is_reply: bool
    is_repost: bool
    has_video: bool


@dataclass(slots=True)
class ObjectStore:
    posts: dict[int, LightPost] = field(default_factory=dict)
    originals: Timelines = field(default_factory=dict)
    secondary: Timelines = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, world: World) -> ObjectStore:
        store = cls()
        for begin in range(0, world.posts.size, CHUNK):
            rows = world.posts[begin : begin + CHUNK].tolist()
            for row, flags in zip(rows, world.flags[begin : begin + CHUNK].tolist(), strict=True):
                kind = bool(flags & REPLY), bool(flags & REPOST), bool(flags & VIDEO)
                store.insert(LightPost(*(*row, *kind)))
        for post_id in world.posts["post_id"][world.dead].tolist():
            store.delete(post_id)
        return store

    def insert(self, post: LightPost) -> None:
        self.posts[post.post_id] = post
        timelines = self.secondary if post.is_reply or post.is_repost else self.originals
        entry = (post.post_id, post.created_at_ms)
        timelines.setdefault(post.author_id, []).append(entry)

    def delete(self, post_id: int) -> None:
        self.posts.pop(post_id, None)
        self.deleted.add(post_id)

    def query(self, request: Request, results_max: int) -> NDArray[np.uint64]:
        """Post ids, newest first."""
        authors = request.following_ids.tolist()
        following, excluded = set(authors), set(request.excluded_ids.tolist())
        found: list[LightPost] = []
        for author in authors:
            posts = self._newest_first(self.originals, author, excluded, request.viewer_id)
            found += itertools.islice(posts, ORIGINALS_PER_AUTHOR_MAX)
        for author in authors:
            posts = self._newest_first(self.secondary, author, excluded, request.viewer_id)
            shown = (post for post in posts if self._reply_shown(post, following))
            found += itertools.islice(shown, SECONDARY_PER_AUTHOR_MAX)
        found.sort(key=lambda post: (post.created_at_ms, post.post_id), reverse=True)
        return np.array([post.post_id for post in found[:results_max]], np.uint64)

    def _newest_first(
        self, timelines: Timelines, author: int, excluded: set[int], viewer_id: int
    ) -> Iterator[LightPost]:
        """At most SCAN_MAX posts that are there and not excluded, less reposts of the viewer."""
        scanned = 0
        for post_id, _ in reversed(timelines.get(author, ())):
            if post_id in excluded:
                continue
            post = self.posts.get(post_id)
            if post is None or post.source_post_id in self.deleted:
                continue
            if scanned == SCAN_MAX:
                return
            scanned += 1
            if not (post.is_repost and post.source_user_id == viewer_id):
                yield post

    def _reply_shown(self, post: LightPost, following: set[int]) -> bool:
        if not post.is_reply:
            return True
        parent = self.posts.get(post.in_reply_to_post_id)
        if parent is None:
            return False
        if not parent.is_reply and not parent.is_repost:
            return True
        root = post.conversation_id
        in_thread = root != 0 and parent.in_reply_to_post_id == root
        return in_thread and post.in_reply_to_user_id in following
