"""What a store must answer, computed plainly from the list of all posts: slow and obvious."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.store.workload import Request, World
from thunder.layout import REPLY, REPOST
from thunder.store import ORIGINALS_PER_AUTHOR_MAX, RETENTION_MS, SECONDARY_PER_AUTHOR_MAX


@dataclass(frozen=True)
class Oracle:
    """Posts [N] ROW with flags [N] in the order in which they came, ids ascending."""

    posts: NDArray[np.void]
    flags: NDArray[np.uint8]
    ids: NDArray[np.uint64]  # [N]
    times_ms: NDArray[np.int64]  # [N]
    by_author: NDArray[np.int64]  # [N] indices, authors together, each in order
    authors: NDArray[np.uint64]  # [N] the authors of those
    dead_ids: frozenset[int]

    @classmethod
    def of(cls, world: World) -> Oracle:
        posts = world.posts
        by_author = np.argsort(posts["author_id"], kind="stable")
        return cls(
            posts,
            world.flags,
            np.ascontiguousarray(posts["post_id"]),
            np.ascontiguousarray(posts["created_at_ms"]),
            by_author,
            posts["author_id"][by_author],
            frozenset(posts["post_id"][world.dead].tolist()),
        )

    def query(
        self, request: Request, now_ms: int, known: int, results_max: int
    ) -> NDArray[np.uint64]:
        """Ids of the answer at ``now_ms`` of a store that has seen the first ``known`` posts. No
        author of the workload comes near SCAN_MAX posts in one answer, so that rule is left out."""
        following, excluded = (
            set(request.following_ids.tolist()),
            set(request.excluded_ids.tolist()),
        )
        first = int(np.searchsorted(self.times_ms, now_ms - RETENTION_MS))
        known = min(known, int(np.searchsorted(self.times_ms, now_ms, side="right")))
        taken: dict[tuple[int, bool], int] = {}
        found: list[int] = []
        for at in self._theirs(request, first, known):
            post, flags = self.posts[at], int(self.flags[at])
            key = int(post["author_id"]), flags & (REPLY | REPOST) != 0
            most = SECONDARY_PER_AUTHOR_MAX if key[1] else ORIGINALS_PER_AUTHOR_MAX
            post_id = int(post["post_id"])
            if taken.get(key, 0) == most or post_id in excluded or post_id in self.dead_ids:
                continue
            if self._shown(post, flags, request.viewer_id, following, first, known):
                taken[key] = taken.get(key, 0) + 1
                found.append(post_id)
            if len(found) == results_max:
                break
        return np.array(found, np.uint64)

    def _theirs(self, request: Request, first: int, known: int) -> list[int]:
        """Posts of the followed authors, newest first."""
        begins = np.searchsorted(self.authors, request.following_ids, side="left")
        ends = np.searchsorted(self.authors, request.following_ids, side="right")
        parts = [self.by_author[b:e] for b, e in zip(begins, ends, strict=True)]
        theirs = np.sort(np.concatenate(parts))
        newest_first: list[int] = theirs[(theirs >= first) & (theirs < known)][::-1].tolist()
        return newest_first

    def _shown(
        self, post: np.void, flags: int, viewer: int, following: set[int], first: int, known: int
    ) -> bool:
        if flags & REPOST:
            return post["source_user_id"] != viewer and int(post["source_post_id"]) not in (
                self.dead_ids
            )
        if not flags & REPLY:
            return True
        parent = self._index(int(post["in_reply_to_post_id"]), first, known)
        if parent < 0:
            return False
        if not self.flags[parent] & (REPLY | REPOST):
            return True
        root = post["conversation_id"]
        in_thread = root != 0 and self.posts["in_reply_to_post_id"][parent] == root
        return bool(in_thread) and int(post["in_reply_to_user_id"]) in following

    def _index(self, post_id: int, first: int, known: int) -> int:
        """Where a living post stands; −1 where the store does not have it."""
        at = first + int(np.searchsorted(self.ids[first:known], np.uint64(post_id)))
        there = at < known and int(self.ids[at]) == post_id
        return at if there and post_id not in self.dead_ids else -1
