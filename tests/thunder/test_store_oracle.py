"""Whatever the order, the duplicates and the trims, the store shows what a plain oracle shows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service_kit.clock import ManualClock
from thunder import layout
from thunder.store import PostStore, Query

START_MS = 1_000_000
RETENTION_MS = 100
TOLERANCE_MS = 10
AUTHORS = range(1, 4)
POSTS = range(1, 14)
ORIGINALS, SECONDARY, VIDEOS = 3, 2, 100  # small caps so that they bite


@dataclass(frozen=True)
class Post:
    post_id: int
    author_id: int
    created_ms: int
    reply_to: int = 0
    reply_user: int = 0
    source: int = 0
    source_user: int = 0
    conversation: int = 0
    video: bool = False

    @property
    def is_reply(self) -> bool:
        return self.reply_to != 0

    @property
    def is_repost(self) -> bool:
        return self.source != 0


@dataclass
class Oracle:
    """The rules of the store in dictionaries and sorted lists; nothing is remembered cleverly."""

    posts_max: int
    posts: dict[int, Post] = field(default_factory=dict)
    statuses: dict[int, tuple[int, bool]] = field(default_factory=dict)
    floor_ms: int = -1

    def insert(self, post: Post, now_ms: int) -> None:
        if post.created_ms > now_ms + TOLERANCE_MS or post.created_ms < now_ms - RETENTION_MS:
            return
        if post.created_ms <= self.floor_ms or post.post_id in self.posts:
            return
        if len(self.posts) == self.posts_max:
            self.evict()
            if post.created_ms <= self.floor_ms:
                return
        status = self.statuses.get(post.post_id)
        if status is not None and status[0] < now_ms - RETENTION_MS:
            del self.statuses[post.post_id]
        self.posts[post.post_id] = post

    def evict(self) -> None:
        times = sorted(post.created_ms for post in self.posts.values())
        self.floor_ms = times[max(1, self.posts_max >> 6) - 1]
        kept = {i: p for i, p in self.posts.items() if p.created_ms > self.floor_ms}
        self.posts = kept

    def status(self, post_id: int, at_ms: int, dead: bool, now_ms: int) -> None:
        if not now_ms - RETENTION_MS <= at_ms <= now_ms + TOLERANCE_MS:
            return
        self.statuses[post_id] = max(self.statuses.get(post_id, (-1, False)), (at_ms, dead))

    def trim(self, now_ms: int) -> None:
        cutoff_ms = now_ms - RETENTION_MS
        self.posts = {i: p for i, p in self.posts.items() if p.created_ms >= cutoff_ms}
        self.statuses = {
            i: s for i, s in self.statuses.items() if i in self.posts or s[0] >= cutoff_ms
        }

    def dead(self, post_id: int) -> bool:
        return self.statuses.get(post_id, (-1, False))[1]

    def in_time(self, post: Post, now_ms: int) -> bool:
        return max(now_ms - RETENTION_MS, self.floor_ms + 1) <= post.created_ms <= now_ms

    def live(self, post_id: int, now_ms: int) -> Post | None:
        post = self.posts.get(post_id)
        if post is None or self.dead(post_id) or not self.in_time(post, now_ms):
            return None
        return post

    def source_dead(self, post_id: int, now_ms: int) -> bool:
        at_ms, dead = self.statuses.get(post_id, (-1, False))
        post = self.posts.get(post_id)
        cutoff_ms = max(now_ms - RETENTION_MS, self.floor_ms + 1)
        known = (post is not None and post.created_ms >= cutoff_ms) or (
            at_ms >= now_ms - RETENTION_MS
        )
        return dead and known

    def reply_passes(self, post: Post, following: set[int], now_ms: int) -> bool:
        if not post.is_reply:
            return True
        parent = self.live(post.reply_to, now_ms)
        if parent is None:
            return False
        if not parent.is_reply and not parent.is_repost:
            return True
        root = post.conversation
        return root != 0 and parent.reply_to == root and post.reply_user in following

    def is_video(self, post: Post, now_ms: int) -> bool:
        if post.is_reply:
            return False
        if post.video or not post.is_repost:
            return post.video
        source = self.live(post.source, now_ms)
        return source is not None and source.video and not source.is_reply

    def query(
        self, viewer: int, following: list[int], excluded: set[int], k: int, videos: bool, now: int
    ) -> list[int]:
        taken: list[Post] = []
        for author in set(following):
            mine = [
                p
                for p in self.posts.values()
                if p.author_id == author
                and self.live(p.post_id, now)
                and p.post_id not in excluded
                and not (p.is_repost and p.source_user == viewer)
                and not (p.is_repost and self.source_dead(p.source, now))
            ]
            mine.sort(key=lambda p: (p.created_ms, p.post_id), reverse=True)
            if videos:
                taken += [p for p in mine if self.is_video(p, now)][:VIDEOS]
                continue
            taken += [p for p in mine if not p.is_reply and not p.is_repost][:ORIGINALS]
            secondary = [p for p in mine if p.is_reply or p.is_repost]
            taken += [p for p in secondary if self.reply_passes(p, set(following), now)][:SECONDARY]
        taken.sort(key=lambda p: (p.created_ms, p.post_id), reverse=True)
        return [p.post_id for p in taken][:k]


def as_rows(posts: list[Post]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.zeros(len(posts), layout.ROW)
    flags = np.zeros(len(posts), np.uint8)
    for i, p in enumerate(posts):
        rows[i] = (
            p.post_id, p.author_id, p.created_ms, p.reply_to, p.reply_user, p.source,
            p.source_user, p.conversation,
        )  # fmt: skip
        flags[i] = layout.REPLY * p.is_reply + layout.REPOST * p.is_repost + layout.VIDEO * p.video
    return rows, flags


# Few distinct times, on the edges, so that ties and boundaries are common.
offsets = st.sampled_from([-101, -100, -60, -60, -30, -30, -10, -10, -10, 0, 0, 1, 10, 11])
maybe_post = st.sampled_from([0, 0, *POSTS])


@st.composite
def posts(draw: st.DrawFn) -> tuple[int, Post]:
    """A post and how far from now it was made; an original, a reply or a repost."""
    post_id = draw(st.sampled_from(POSTS))
    kind = draw(st.sampled_from(["original", "original", "reply", "repost"]))
    reply = draw(st.sampled_from(POSTS)) if kind == "reply" else 0
    source = draw(st.sampled_from(POSTS)) if kind == "repost" else 0
    return draw(offsets), Post(
        post_id=post_id,
        author_id=draw(st.sampled_from(AUTHORS)),
        created_ms=0,
        reply_to=reply,
        reply_user=draw(st.sampled_from(AUTHORS)) if reply else 0,
        source=source,
        source_user=draw(st.sampled_from(AUTHORS)) if source else 0,
        conversation=draw(maybe_post) if reply else 0,
        video=draw(st.booleans()),
    )


class StoreMachine(RuleBasedStateMachine):
    """Events, time and trims in any order; the store must answer as the oracle does."""

    @initialize(posts_max=st.sampled_from([4, 12, 1000]))
    def begin(self, posts_max: int) -> None:
        self.clock = ManualClock(START_MS)
        self.store = PostStore(
            self.clock,
            posts_max=posts_max,
            retention_ms=RETENTION_MS,
            future_tolerance_ms=TOLERANCE_MS,
        )
        self.oracle = Oracle(posts_max)

    @rule(batch=st.lists(posts(), min_size=2, max_size=10), twice=st.booleans())
    def create(self, batch: list[tuple[int, Post]], twice: bool) -> None:
        now_ms = self.clock.now_ms()
        made = [Post(**{**vars(p), "created_ms": now_ms + offset}) for offset, p in batch]
        for _ in range(1 + twice):
            self.store.insert(*as_rows(made))
            for post in made:
                self.oracle.insert(post, now_ms)

    @rule(
        post_id=st.sampled_from(POSTS),
        offset=offsets,
        changes=st.sampled_from([(1,), (1,), (0,), (0, 1), (1, 0)]),
    )
    def change_status(self, post_id: int, offset: int, changes: tuple[int, ...]) -> None:
        """Deletes (1) and undeletes (0), also several of one time, in either order."""
        now_ms = self.clock.now_ms()
        ids = np.full(len(changes), post_id, np.uint64)
        times = np.full(len(changes), now_ms + offset, np.int64)
        self.store.apply_statuses((ids, times, np.array(changes, np.uint8)))
        for dead in changes:
            self.oracle.status(post_id, now_ms + offset, bool(dead), now_ms)

    @rule(milliseconds=st.sampled_from([1, 10, 40]))
    def pass_time(self, milliseconds: int) -> None:
        self.clock.advance_ms(milliseconds)

    @rule()
    def trim(self) -> None:
        self.store.trim()
        self.oracle.trim(self.clock.now_ms())

    @rule(
        viewer=st.sampled_from(AUTHORS),
        following=st.lists(st.sampled_from([*AUTHORS, 99, 0]), max_size=6),
        excluded=st.sets(st.sampled_from(POSTS), max_size=4),
        k=st.integers(1, 12),
        videos=st.booleans(),
    )
    def ask(
        self, viewer: int, following: list[int], excluded: set[int], k: int, videos: bool
    ) -> None:
        self.compare(viewer, following, excluded, k, videos)

    def compare(
        self, viewer: int, following: list[int], excluded: set[int], k: int, videos: bool
    ) -> None:
        query = Query(
            viewer_id=viewer,
            following_ids=np.array(following, np.uint64),
            excluded_ids=np.array(sorted(excluded), np.uint64),
            results_max=k,
            videos=videos,
            originals_per_author_max=ORIGINALS,
            secondary_per_author_max=SECONDARY,
        )
        found = self.store.query(query).posts["post_id"].tolist()
        now_ms = self.clock.now_ms()
        assert found == self.oracle.query(viewer, following, excluded, k, videos, now_ms)

    @invariant()
    def everything_agrees(self) -> None:
        """After every step: all there is, and the newest two, where ties decide."""
        if hasattr(self, "store"):
            for k in (2, 100):
                for videos in (False, True):
                    self.compare(1, list(AUTHORS), set(), k, videos)
            sizes = self.store.sizes()
            assert sizes.posts == sizes.originals + sizes.secondary <= sizes.posts_max


StoreMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
)
TestStoreEqualsOracle = StoreMachine.TestCase
