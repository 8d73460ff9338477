"""Which posts retrieval may answer: the newest `posts_max` of the retention window, not deleted.

Events may come late, twice and in any order, and every order ends in the same corpus:

* a post's existence is a set union: `create` is idempotent,
* a post's visibility is the newest of its deletes and undeletes by event time (a delete wins a
  tie), kept even while the post itself has not arrived,
* age and capacity keep the newest posts by (created_ms, post_id), which no order changes.

Knows no vectors: the index holds those for what is visible here.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from service_kit.snowflake import FIRST_SNOWFLAKE_ID, timestamp_ms


@dataclass(frozen=True, slots=True, order=True)
class Post:
    """A post that retrieval may answer. Orders by age, then id."""

    created_ms: int
    post_id: int
    author_id: int


@dataclass(frozen=True, slots=True)
class Changes:
    """What became visible or invisible since the last look; a post is in one list at most."""

    shown: tuple[Post, ...]
    hidden: tuple[int, ...]


def created_ms_of(post_id: int, stated_ms: int) -> int:
    """The id's own time, which a delete knows as well; `stated_ms` for ids that hold none."""
    return timestamp_ms(post_id) if post_id >= FIRST_SNOWFLAKE_ID else stated_ms


class Corpus:
    """The set of posts that may be answered, as events and time change it. One thread only."""

    def __init__(self, *, posts_max: int, retention_ms: int) -> None:
        self._posts_max = posts_max
        self._retention_ms = retention_ms
        self._horizon_ms = 0  # posts older than this are gone for good
        self._posts: dict[int, Post] = {}
        self._by_age: list[Post] = []  # heap, oldest first
        self._changed: dict[int, tuple[int, bool]] = {}  # post id -> (event time, deleted)
        self._changed_by_age: list[tuple[int, int]] = []  # heap of (forgotten at, post id)
        self._touched: set[int] = set()
        self.dropped_tombstones = 0  # deletes forgotten for lack of room

    def __len__(self) -> int:
        """Posts held, deleted ones included."""
        return len(self._posts)

    @property
    def tombstones(self) -> int:
        """Deletes and undeletes remembered."""
        return len(self._changed)

    def create(self, post: Post) -> None:
        """Takes a post in, unless it is too old or the corpus is full of newer ones."""
        if post.post_id in self._posts or post.created_ms < self._horizon_ms:
            return
        self._posts[post.post_id] = post
        self._touched.add(post.post_id)
        heapq.heappush(self._by_age, post)
        while len(self._posts) > self._posts_max:
            self._forget_oldest_post()

    def delete(self, post_id: int, at_ms: int) -> None:
        """Hides a post from `at_ms` on, whether or not it has arrived."""
        self._change(post_id, at_ms, deleted=True)

    def undelete(self, post_id: int, at_ms: int) -> None:
        """Shows a post again, unless a delete is newer."""
        self._change(post_id, at_ms, deleted=False)

    def advance(self, now_ms: int) -> None:
        """Forgets what is older than the retention window; time never runs back."""
        self._horizon_ms = max(self._horizon_ms, now_ms - self._retention_ms)
        while self._by_age and self._by_age[0].created_ms < self._horizon_ms:
            self._forget_oldest_post()
        while self._changed_by_age and self._changed_by_age[0][0] < self._horizon_ms:
            self._forget_oldest_change()

    def is_visible(self, post_id: int) -> bool:
        """Whether the post is here, young enough and not deleted."""
        return post_id in self._posts and not self._changed.get(post_id, (0, False))[1]

    def visible_posts(self) -> Iterator[Post]:
        """Everything that may be answered now."""
        return (post for post in self._posts.values() if self.is_visible(post.post_id))

    def take_changes(self) -> Changes:
        """Every post touched since the last call, by what it is now."""
        touched, self._touched = sorted(self._touched), set()
        shown = tuple(self._posts[id_] for id_ in touched if self.is_visible(id_))
        return Changes(shown, tuple(id_ for id_ in touched if not self.is_visible(id_)))

    def put_back(self, changes: Changes) -> None:
        """Changes that could not be followed; the next `take_changes` tells them again."""
        self._touched.update(post.post_id for post in changes.shown)
        self._touched.update(changes.hidden)

    def _change(self, post_id: int, at_ms: int, *, deleted: bool) -> None:
        forgotten_at_ms = max(created_ms_of(post_id, at_ms), at_ms)
        if forgotten_at_ms < self._horizon_ms:
            return  # the post itself is too old to come back
        known = self._changed.get(post_id)
        if known is None:
            heapq.heappush(self._changed_by_age, (forgotten_at_ms, post_id))
        if known is None or (at_ms, deleted) > known:
            self._changed[post_id] = (at_ms, deleted)
            self._touched.add(post_id)
        while len(self._changed) > self._posts_max:
            self._drop_oldest_change()

    def _forget_oldest_post(self) -> None:
        post = heapq.heappop(self._by_age)
        if self._posts.get(post.post_id) is post:
            del self._posts[post.post_id]
            self._touched.add(post.post_id)

    def _forget_oldest_change(self) -> None:
        """Past the window no create of this post is taken, so its delete is no longer needed."""
        _, post_id = heapq.heappop(self._changed_by_age)
        at_ms, _ = self._changed[post_id]
        newest_ms = max(at_ms, self._posts[post_id].created_ms if post_id in self._posts else 0)
        if newest_ms >= self._horizon_ms:
            heapq.heappush(self._changed_by_age, (newest_ms, post_id))
        else:
            del self._changed[post_id]

    def _drop_oldest_change(self) -> None:
        """Out of room: the post goes with its delete, for it must not come back into sight."""
        _, post_id = heapq.heappop(self._changed_by_age)
        _, deleted = self._changed.pop(post_id)
        self.dropped_tombstones += 1
        if deleted and self._posts.pop(post_id, None) is not None:
            self._touched.add(post_id)
