"""Says which posts of a feed a viewer must not see, from the events alone.

It shares no code with home_mixer: it reads events as they were written and applies the promises
one by one, so that it can judge feeds which were made while half of the stores were away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from home_mixer.client import Feed, Post
from protos import events_pb2 as pb
from service_kit.event_log import TOPIC_GRAPH, TOPIC_POSTS, Record

Edge = pb.GraphEdge
# Labels that followed accounts' posts may carry: behind a notice, or without one.
SHOWN_IN_NETWORK = {
    pb.VISIBILITY_LABEL_GORE,
    pb.VISIBILITY_LABEL_ADULT,
    pb.VISIBILITY_LABEL_MALICIOUS_URL,
    pb.VISIBILITY_LABEL_DO_NOT_AMPLIFY,
}


class FeedSafety:
    """Learns events in any order; the newest of each fact holds."""

    def __init__(self) -> None:
        self._edges: dict[tuple[int, int, int], tuple[int, bool]] = {}
        self._posts: dict[int, pb.PostCreate] = {}
        self._deleted: dict[int, tuple[int, bool]] = {}
        self._labels: dict[int, tuple[int, set[int]]] = defaultdict(lambda: (0, set()))

    def learn(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.topic == TOPIC_GRAPH:
                graph = pb.GraphEvent.FromString(record.value)
                if graph.WhichOneof("event") == "edge":
                    self.learn_edge(graph.edge)
            elif record.topic == TOPIC_POSTS:
                self.learn_post(pb.PostEvent.FromString(record.value))

    def learn_edge(self, edge: pb.GraphEdge) -> None:
        key = edge.kind, edge.user_id, edge.target_user_id
        self._edges[key] = max(self._edges.get(key, (0, False)), (edge.changed_at_ms, edge.removed))

    def learn_post(self, event: pb.PostEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "create":
            self._posts[event.create.post_id] = event.create
        elif kind == "delete":
            self._status(event.delete.post_id, event.delete.deleted_at_ms, deleted=True)
        elif kind == "undelete":
            self._status(event.undelete.post_id, event.undelete.undeleted_at_ms, deleted=False)
        elif kind == "labels":
            found = event.labels.labelled_at_ms, set(event.labels.labels)
            if found[0] >= self._labels[event.labels.post_id][0]:
                self._labels[event.labels.post_id] = found

    def following(self, at_least: int) -> list[int]:
        """Users who follow so many or more, most first."""
        counts: dict[int, int] = defaultdict(int)
        for (kind, user, _), (_, removed) in self._edges.items():
            counts[user] += kind == Edge.KIND_FOLLOW and not removed
        return sorted((u for u, n in counts.items() if n >= at_least), key=lambda u: -counts[u])

    def violations(self, viewer: int, feed: Feed) -> list[str]:
        """A sentence for each promise that the feed breaks."""
        return [
            f"viewer {viewer}, post {post.post_id}: {why}"
            for post in feed.posts
            for why in self._wrong(viewer, post)
        ]

    def _wrong(self, viewer: int, post: Post) -> Iterator[str]:
        created = self._posts.get(post.post_id)
        if created is None:
            yield "nobody wrote it"
            return
        for what, author in (
            ("author", created.author_id),
            ("reposted author", created.reposted_user_id),
            ("quoted author", created.quoted_user_id),
        ):
            if self._has(Edge.KIND_BLOCK, viewer, author):
                yield f"its {what} is blocked"
            if self._has(Edge.KIND_MUTE, viewer, author):
                yield f"its {what} is muted"
            if self._has(Edge.KIND_BLOCK, author, viewer):
                yield f"its {what} blocks the viewer"
        for shown in (created.post_id, created.reposted_post_id):
            yield from self._unfit(viewer, shown, created.author_id)
        if self._labels[created.quoted_post_id][1]:
            yield "it quotes a labelled post"

    def _unfit(self, viewer: int, post_id: int, shown_by: int) -> Iterator[str]:
        if self._deleted.get(post_id, (0, False))[1]:
            yield "it is deleted"
        labels = self._labels[post_id][1]
        followed = shown_by == viewer or self._has(Edge.KIND_FOLLOW, viewer, shown_by)
        if labels - SHOWN_IN_NETWORK if followed else labels:
            yield f"it is unsafe: {sorted(labels)}"
        paywall = self._posts[post_id].subscription_author_id if post_id in self._posts else 0
        if paywall and paywall != viewer and not self._has(Edge.KIND_SUBSCRIBE, viewer, paywall):
            yield "it is for subscribers"

    def _has(self, kind: int, user: int, target: int) -> bool:
        at_ms, removed = self._edges.get((kind, user, target), (0, True))
        return at_ms > 0 and not removed

    def _status(self, post_id: int, at_ms: int, *, deleted: bool) -> None:
        self._deleted[post_id] = max(self._deleted.get(post_id, (0, False)), (at_ms, deleted))
