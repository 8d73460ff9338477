"""What every store must hold in the end: plain dictionaries, written from the contracts alone.

Laws (docs of the events, §3 of the contract): a post exists once created; the newest of its
deletes and undeletes by event time holds, a tie is a delete; a lost quote is lost for ever; the
newest change of an edge holds. thunder and the index answer what is younger than the retention.
Nothing here is taken from a service's code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from benchmarks.replay.events import Create, Event, QuoteGone, Status

K = TypeVar("K")
VIDEO_MS_MIN = 5_000
ORIGINALS_MAX, SECONDARY_MAX = 50, 30  # of one author in one answer of thunder


class Row(NamedTuple):
    """A post as the feature store answers it."""

    found: bool
    deleted: bool
    author_id: int = 0
    created_at_ms: int = 0
    in_reply_to_post_id: int = 0
    in_reply_to_user_id: int = 0
    conversation_id: int = 0
    reposted_post_id: int = 0
    reposted_user_id: int = 0
    quoted_post_id: int = 0
    quoted_user_id: int = 0
    video_duration_ms: int = 0
    text: str = ""


class Light(NamedTuple):
    """A post as thunder answers it."""

    post_id: int
    author_id: int
    created_at_ms: int
    parent_id: int
    parent_user_id: int
    source_id: int
    source_user_id: int
    root_id: int
    has_video: bool


class Oracle:
    """Takes events in any order and any number of times; ``cutoff_ms``: older is forgotten."""

    def __init__(self, events: Iterable[Event], *, cutoff_ms: int) -> None:
        self._cutoff_ms = cutoff_ms
        self.posts: dict[int, Create] = {}
        self.statuses: dict[int, tuple[int, bool]] = {}  # all; the feature store forgets none
        self.recent: dict[int, tuple[int, bool]] = {}  # younger than the cutoff
        self.quotes_gone: set[int] = set()
        self.edges: dict[tuple[int, int], tuple[int, bool]] = {}
        self.by_author: dict[int, list[Create]] = {}
        for event in events:
            self._take(event)
        for post in self.posts.values():
            self.by_author.setdefault(post.author_id, []).append(post)

    def _take(self, event: Event) -> None:
        if isinstance(event, Create):
            self.posts[event.post_id] = event
        elif isinstance(event, Status):
            status = (event.at_ms, event.deleted)
            self._newest(self.statuses, event.post_id, status)
            if event.at_ms >= self._cutoff_ms:
                self._newest(self.recent, event.post_id, status)
        elif isinstance(event, QuoteGone):
            self.quotes_gone.add(event.post_id)
        else:
            self._newest(self.edges, (event.user_id, event.target_id), (event.at_ms, event.removed))

    @staticmethod
    def _newest(known: dict[K, tuple[int, bool]], key: K, status: tuple[int, bool]) -> None:
        known[key] = max(known.get(key, (0, False)), status)

    def post_ids(self) -> list[int]:
        """Every id that any event named, ascending."""
        return sorted({*self.posts, *self.statuses, *self.quotes_gone})

    def row(self, post_id: int) -> Row:
        """The feature store's answer."""
        deleted = self.statuses.get(post_id, (0, False))[1]
        post = self.posts.get(post_id)
        if post is None:
            return Row(False, deleted)
        card = post_id not in self.quotes_gone
        return Row(
            True,
            deleted,
            post.author_id,
            post.at_ms,
            post.parent_id,
            post.parent_user_id,
            post.root_id,
            post.source_id,
            post.source_user_id,
            post.quoted_id * card,
            post.quoted_user_id * card,
            post.video_ms,
            post.text,
        )

    def follows_by_user(self) -> dict[int, list[int]]:
        """Whom every user of the graph follows, ascending."""
        lists: dict[int, list[int]] = {user_id: [] for user_id, _ in self.edges}
        for (user_id, target_id), (_, removed) in sorted(self.edges.items()):
            if not removed:
                lists[user_id].append(target_id)
        return lists

    def indexed(self) -> set[int]:
        """What retrieval may answer: living originals and quotes within the retention."""
        return {
            post.post_id
            for post in self.posts.values()
            if not post.parent_id and not post.source_id and self.alive(post.post_id)
        }

    def alive(self, post_id: int) -> bool:
        """Whether a post is in thunder as far as a viewer can tell."""
        post = self.posts.get(post_id)
        return post is not None and post.at_ms >= self._cutoff_ms and not self._dead(post_id)

    def _dead(self, post_id: int) -> bool:
        return self.recent.get(post_id, (0, False))[1]

    def in_network(
        self, viewer_id: int, following: Iterable[int], *, capped: bool, results_max: int = 1 << 30
    ) -> list[int]:
        """What thunder answers a viewer, newest first; ``capped``: at most so many an author."""
        followed = set(following)
        found: list[Create] = []
        for author_id in followed:
            own = [p for p in self.by_author.get(author_id, ()) if self._shows(p, viewer_id)]
            own = [p for p in own if self._in_context(p, followed)]
            own.sort(key=lambda post: (post.at_ms, post.post_id), reverse=True)
            originals = [p for p in own if not p.parent_id and not p.source_id]
            secondary = [p for p in own if p.parent_id or p.source_id]
            found += originals[:ORIGINALS_MAX] if capped else originals
            found += secondary[:SECONDARY_MAX] if capped else secondary
        found.sort(key=lambda post: (post.at_ms, post.post_id), reverse=True)
        return [post.post_id for post in found[:results_max]]

    def _shows(self, post: Create, viewer_id: int) -> bool:
        """Alive, and no repost of a deleted post or of the viewer."""
        if not self.alive(post.post_id):
            return False
        return not post.source_id or (
            not self._dead(post.source_id) and post.source_user_id != viewer_id
        )

    def _in_context(self, post: Create, followed: set[int]) -> bool:
        """A reply needs its parent: an original, or a followed user's answer to the root."""
        if not post.parent_id:
            return True
        if not self.alive(post.parent_id):
            return False
        parent = self.posts[post.parent_id]
        if not parent.parent_id and not parent.source_id:
            return True
        return bool(
            post.root_id and parent.parent_id == post.root_id and post.parent_user_id in followed
        )

    def light(self, post_id: int) -> Light:
        """A post as thunder answers it."""
        post = self.posts[post_id]
        return Light(
            post_id,
            post.author_id,
            post.at_ms,
            post.parent_id,
            post.parent_user_id,
            post.source_id,
            post.source_user_id,
            post.root_id,
            post.video_ms >= VIDEO_MS_MIN,
        )
