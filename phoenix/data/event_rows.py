"""Events as flat rows with a documented schema (docs/training_data.md): one a served post, an
action, a post event.

An event that cannot be decoded or lacks an id or a time gives no row, and its reason is counted.
Ids are int64 (a larger one wraps, as everywhere in training), times unix milliseconds, and a
text of a user is in none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from google.protobuf.message import DecodeError

from phoenix.data.events import known_surface, usable_seconds
from protos import events_pb2
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_POSTS, TOPIC_SERVED, Record

Row = tuple[object, ...]

_WHERE = (("partition", pa.int32()), ("offset", pa.int64()))  # of the event in its topic

SERVED_SCHEMA = pa.schema(
    [
        ("viewer_id", pa.int64()),
        ("request_id", pa.string()),  # "": none
        ("served_at_ms", pa.int64()),
        ("product_surface", pa.int8()),
        ("post_id", pa.int64()),  # of a repost: its own, not the original's
        ("author_id", pa.int64()),
        ("position", pa.int32()),
        ("score", pa.float32()),
        ("in_network", pa.bool_()),
        ("propensity", pa.float32()),
        ("log_probs", pa.list_(pa.float32())),  # by action number - 1; empty: not scored
        ("predicted_dwell_seconds", pa.float32()),
        ("model_version", pa.string()),
        ("params_hash", pa.string()),
        *_WHERE,
    ]
)
ACTIONS_SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("post_id", pa.int64()),
        ("author_id", pa.int64()),
        ("action", pa.int32()),  # number of foryou.actions.v1.Action
        ("acted_at_ms", pa.int64()),
        ("product_surface", pa.int8()),
        ("seconds", pa.float32()),  # 0: none
        ("request_id", pa.string()),  # "": none
        *_WHERE,
    ]
)
POSTS_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # create, delete, undelete, quoted_post_delete, labels
        ("post_id", pa.int64()),
        ("author_id", pa.int64()),
        ("at_ms", pa.int64()),
        ("language_code", pa.string()),
        ("in_reply_to_post_id", pa.int64()),  # ids of other posts: 0 where there is none
        ("conversation_id", pa.int64()),
        ("reposted_post_id", pa.int64()),
        ("reposted_user_id", pa.int64()),
        ("quoted_post_id", pa.int64()),
        ("video_duration_ms", pa.int64()),  # of the first video; 0: none
        *_WHERE,
    ]
)


class PoisonError(ValueError):
    """An event that gives no row; the message is the reason that is counted."""


@dataclass(slots=True)
class TopicRows:
    """Rows of one topic, collected."""

    schema: pa.Schema
    rows_of: Callable[[bytes, Counter[str]], Iterable[Row]]
    rows: list[Row] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        where = (record.partition, record.offset)
        try:
            self.rows.extend((*row, *where) for row in self.rows_of(record.value, self.rejected))
        except PoisonError as error:
            self.rejected[str(error)] += 1

    def take(self) -> pa.Table:
        """The rows so far as a table; forgets them."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.schema)
        arrays = [pa.array(c, t.type) for c, t in zip(columns, self.schema, strict=True)]
        self.rows.clear()
        return pa.Table.from_arrays(arrays, schema=self.schema)


def topic_rows() -> dict[str, TopicRows]:
    """A collector for each topic that training reads."""
    return {
        TOPIC_SERVED: TopicRows(SERVED_SCHEMA, served_rows),
        TOPIC_ACTIONS: TopicRows(ACTIONS_SCHEMA, action_rows),
        TOPIC_POSTS: TopicRows(POSTS_SCHEMA, post_rows),
    }


def served_rows(value: bytes, rejected: Counter[str]) -> Iterator[Row]:
    """One row a served post. PoisonError: the whole event is of no use."""
    try:
        event = events_pb2.ServedEvent.FromString(value)
    except DecodeError as error:
        raise PoisonError("served event that cannot be decoded") from error
    if not event.viewer_id or event.served_at_ms <= 0:
        raise PoisonError("served event without viewer or time")
    surface = known_surface(event.product_surface)
    for post in event.posts:
        if not post.post_id:
            rejected["served post without id"] += 1
            continue
        yield (
            *(_signed(event.viewer_id), event.request_id, event.served_at_ms, surface),
            *(_signed(post.post_id), _signed(post.author_id), post.position, post.score),
            *(post.in_network, post.propensity, list(post.log_probs), post.dwell_seconds),
            *(event.model_version, event.params_hash),
        )


def action_rows(value: bytes, rejected: Counter[str]) -> Iterator[Row]:
    """One row. PoisonError: not an action that anybody can use."""
    try:
        event = events_pb2.ActionEvent.FromString(value)
    except DecodeError as error:
        raise PoisonError("action event that cannot be decoded") from error
    if not (event.user_id and event.post_id and event.action) or event.acted_at_ms <= 0:
        raise PoisonError("action without user, post, action or time")
    yield (
        *(_signed(event.user_id), _signed(event.post_id), _signed(event.author_id)),
        *(event.action, event.acted_at_ms, known_surface(event.product_surface)),
        *(usable_seconds(event.seconds), event.request_id),
    )


def post_rows(value: bytes, rejected: Counter[str]) -> Iterator[Row]:
    """One row, whatever happened to the post. PoisonError: nothing that we know."""
    try:
        event = events_pb2.PostEvent.FromString(value)
    except DecodeError as error:
        raise PoisonError("post event that cannot be decoded") from error
    kind = event.WhichOneof("event")
    if kind is None:
        raise PoisonError("post event of an unknown kind")
    if kind == "create":
        yield (kind, *_create(event.create))
        return
    gone = event.quoted_post_delete
    post_id, author_id, at_ms, quoted_id = {
        "delete": (event.delete.post_id, event.delete.author_id, event.delete.deleted_at_ms, 0),
        "undelete": (
            *(event.undelete.post_id, event.undelete.author_id),
            *(event.undelete.undeleted_at_ms, 0),
        ),
        "quoted_post_delete": (
            *(gone.quoting_post_id, gone.quoting_author_id),
            *(gone.deleted_at_ms, gone.quoted_post_id),
        ),
        "labels": (event.labels.post_id, event.labels.author_id, event.labels.labelled_at_ms, 0),
    }[kind]
    ids = (_signed(post_id), _signed(author_id))
    yield (kind, *ids, at_ms, "", 0, 0, 0, 0, _signed(quoted_id), 0)


def _create(create: events_pb2.PostCreate) -> Row:
    videos = (m.duration_ms for m in create.media if m.kind == events_pb2.Media.KIND_VIDEO)
    return (
        *(_signed(create.post_id), _signed(create.author_id), create.created_at_ms),
        *(create.language_code, _signed(create.in_reply_to_post_id)),
        *(_signed(create.conversation_id), _signed(create.reposted_post_id)),
        *(_signed(create.reposted_user_id), _signed(create.quoted_post_id)),
        next(videos, 0),
    )


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
