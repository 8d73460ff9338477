"""What the replay says happened, and its form on the wire.

The oracle reads these tuples; the services read the protobuf events that `encode` makes of them.
Times are milliseconds since 1970; 0 stands for "none".
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from protos import events_pb2
from service_kit.event_log import TOPIC_GRAPH, TOPIC_POSTS, event_key


class Create(NamedTuple):
    post_id: int
    author_id: int
    at_ms: int
    text: str
    parent_id: int = 0
    parent_user_id: int = 0
    root_id: int = 0
    source_id: int = 0  # reposted
    source_user_id: int = 0
    quoted_id: int = 0
    quoted_user_id: int = 0
    video_ms: int = 0


class Status(NamedTuple):
    """A delete or an undelete."""

    post_id: int
    author_id: int
    at_ms: int
    deleted: bool


class QuoteGone(NamedTuple):
    """The quoted post was deleted: the quoting one loses its card for ever."""

    post_id: int
    author_id: int
    at_ms: int
    quoted_id: int


class Follow(NamedTuple):
    user_id: int
    target_id: int
    at_ms: int
    removed: bool


Event: TypeAlias = Create | Status | QuoteGone | Follow


class Send(NamedTuple):
    """One record to be produced; ``due_ms``: its place in the replayed time."""

    due_ms: int
    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int


def encode(event: Event, due_ms: int) -> Send:
    """The record of one event; posts are keyed by author, follows by user."""
    if isinstance(event, Follow):
        key, topic, value = event.user_id, TOPIC_GRAPH, _graph_event(event).SerializeToString()
    else:
        key, topic, value = event.author_id, TOPIC_POSTS, _post_event(event).SerializeToString()
    return Send(due_ms, topic, event_key(key), value, event.at_ms)


def _post_event(event: Create | Status | QuoteGone) -> events_pb2.PostEvent:
    if isinstance(event, Create):
        return events_pb2.PostEvent(create=_create(event))
    ids = {"post_id": event.post_id, "author_id": event.author_id}
    if isinstance(event, QuoteGone):
        gone = events_pb2.QuotedPostDelete(
            quoting_post_id=event.post_id,
            quoting_author_id=event.author_id,
            quoted_post_id=event.quoted_id,
            deleted_at_ms=event.at_ms,
        )
        return events_pb2.PostEvent(quoted_post_delete=gone)
    if event.deleted:
        return events_pb2.PostEvent(delete=events_pb2.PostDelete(**ids, deleted_at_ms=event.at_ms))
    back = events_pb2.PostUndelete(**ids, undeleted_at_ms=event.at_ms)
    return events_pb2.PostEvent(undelete=back)


def _create(event: Create) -> events_pb2.PostCreate:
    create = events_pb2.PostCreate(
        post_id=event.post_id,
        author_id=event.author_id,
        created_at_ms=event.at_ms,
        text=event.text,
        in_reply_to_post_id=event.parent_id or None,
        in_reply_to_user_id=event.parent_user_id or None,
        conversation_id=event.root_id or None,
        reposted_post_id=event.source_id or None,
        reposted_user_id=event.source_user_id or None,
        quoted_post_id=event.quoted_id or None,
        quoted_user_id=event.quoted_user_id or None,
    )
    if event.video_ms:
        create.media.add(kind=events_pb2.Media.KIND_VIDEO, duration_ms=event.video_ms)
    return create


def _graph_event(event: Follow) -> events_pb2.GraphEvent:
    edge = events_pb2.GraphEdge(
        kind=events_pb2.GraphEdge.KIND_FOLLOW,
        user_id=event.user_id,
        target_user_id=event.target_id,
        removed=event.removed,
        changed_at_ms=event.at_ms,
    )
    return events_pb2.GraphEvent(edge=edge)
