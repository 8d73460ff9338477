"""What the ingester writes: decoded events, and the laws by which two of them converge.

Delivery is at least once and in any order, so each row carries its event time and every law is
commutative, associative and idempotent: newest time wins; at equal times a fixed order decides.
`FeatureWriter.apply` stores a batch and then the log positions behind it, where it can in one
transaction, so that a crash neither loses nor repeats an event's effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

FOLLOW, BLOCK, MUTE, SUBSCRIBE = 1, 2, 3, 4  # events_pb2.GraphEdge.Kind

NEVER_MS = -1  # event time of a field that no event has set


class PostContent(NamedTuple):
    """A post as created; 0 and "" for absent fields. Two contents of one id: the larger wins."""

    author_id: int
    created_at_ms: int
    in_reply_to_post_id: int = 0
    in_reply_to_user_id: int = 0
    conversation_id: int = 0
    reposted_post_id: int = 0
    reposted_user_id: int = 0
    quoted_post_id: int = 0
    quoted_user_id: int = 0
    subscription_author_id: int = 0
    video_duration_ms: int = 0
    has_media: bool = False
    text: str = ""


@dataclass(slots=True)
class PostState:
    """Everything known of one post: content, deletion status and labels, each with its law."""

    content: PostContent | None = None
    deleted: bool = False
    status_at_ms: int = NEVER_MS
    labels: int = 0
    labels_at_ms: int = NEVER_MS
    quote_gone: bool = False

    def merge_content(self, content: PostContent) -> None:
        """The larger of two different contents of one id stays."""
        if self.content is None or content > self.content:
            self.content = content

    def merge_status(self, deleted: bool, at_ms: int) -> None:
        """The newest of delete and undelete; at equal times the delete."""
        if (at_ms, deleted) > (self.status_at_ms, self.deleted):
            self.status_at_ms, self.deleted = at_ms, deleted

    def merge_labels(self, labels: int, at_ms: int) -> None:
        """The newest whole set; at equal times the larger bit mask."""
        if (at_ms, labels) > (self.labels_at_ms, self.labels):
            self.labels_at_ms, self.labels = at_ms, labels


class Profile(NamedTuple):
    """A whole profile; the largest tuple wins, and it starts with the event time."""

    changed_at_ms: int
    screen_name: str
    verified: bool
    followers_count: int


class Action(NamedTuple):
    """One action; (acted_at_ms, post_id, action) names it, the largest tuple of them stays."""

    acted_at_ms: int
    post_id: int
    action: int
    author_id: int
    product_surface: int
    seconds: float


class EdgeChange(NamedTuple):
    """One change of an edge; the largest tuple wins: newest, then removed over added."""

    changed_at_ms: int
    removed: bool


@dataclass(slots=True)
class FeatureBatch:
    """Decoded events of one transaction, in any order."""

    contents: list[tuple[int, PostContent]] = field(default_factory=list)
    statuses: list[tuple[int, bool, int]] = field(default_factory=list)  # post, deleted, at_ms
    labels: list[tuple[int, int, int]] = field(default_factory=list)  # post, bit mask, at_ms
    quotes_gone: list[int] = field(default_factory=list)  # quoting post
    edges: list[tuple[int, int, int, EdgeChange]] = field(
        default_factory=list
    )  # kind, user, target
    keywords: list[tuple[int, str, EdgeChange]] = field(default_factory=list)
    profiles: list[tuple[int, Profile]] = field(default_factory=list)
    actions: list[tuple[int, Action]] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of rows."""
        return sum(len(getattr(self, name)) for name in self.__slots__)

    def changed_posts(self, states: dict[int, PostState]) -> None:
        """Merge this batch's post rows into ``states``, which holds every post it touches."""
        for post_id, content in self.contents:
            states[post_id].merge_content(content)
        for post_id, deleted, at_ms in self.statuses:
            states[post_id].merge_status(deleted, at_ms)
        for post_id, labels, at_ms in self.labels:
            states[post_id].merge_labels(labels, at_ms)
        for post_id in self.quotes_gone:
            states[post_id].quote_gone = True

    def post_ids(self) -> set[int]:
        """Ids of the posts that this batch touches."""
        ids = {row[0] for rows in (self.contents, self.statuses, self.labels) for row in rows}
        return ids.union(self.quotes_gone)


Positions = Mapping[tuple[str, int], int]  # (topic, partition) → next offset to read


class FeatureWriter(Protocol):
    """The ingester's side of the stores."""

    def apply(self, batch: FeatureBatch, positions: Positions) -> None:
        """Store rows, and positions not before them. `StoreError` when it cannot: again, then."""

    def positions(self) -> dict[tuple[str, int], int]:
        """Positions stored by the last `apply`; empty for a new store."""

    def trim(self, first_post_id: int, rows_max: int) -> int:
        """Forget posts with smaller ids, at most ``rows_max`` a call; returns how many went."""
