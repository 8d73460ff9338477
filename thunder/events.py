"""From ``foryou.posts`` records to the columns that the store takes, or the feeder passes on.

What thunder keeps of a post: reply = some in_reply_to field is set; repost = a reposted post id is
set; video = exactly one medium, a video of at least 5 s. The text never enters memory. Events that
do not concern the store (labels, quoted posts gone) are counted and passed over; what cannot be
understood is poison, alone, never its batch. A kernel reads what is usual; what it leaves is
decoded with the generated classes, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from protos import events_pb2
from service_kit.dead_letters import Poison
from service_kit.event_log import Record
from service_kit.record_batch import RecordBatch, Values
from thunder import event_kernels
from thunder.layout import REPLY, REPOST, ROW, VIDEO
from thunder.post_kernels import VIDEO_MS_MIN, read_posts
from thunder.store import Statuses

RowTuple = tuple[int, int, int, int, int, int, int, int]  # in the order of layout.ROW


class EventColumns(NamedTuple):
    """Events that a kernel has read."""

    posts: NDArray[np.void]  # [n] ROW
    flags: NDArray[np.uint8]  # [n]
    statuses: Statuses  # [m]


@dataclass(slots=True)
class PostBatch:
    """Decoded events, ready for the store. Their order does not matter to it: what a kernel read
    is in ``columns``, what was decoded one by one in the lists."""

    columns: EventColumns | None = None
    rows: list[RowTuple] = field(default_factory=list)
    row_flags: list[int] = field(default_factory=list)
    status_ids: list[int] = field(default_factory=list)
    status_times_ms: list[int] = field(default_factory=list)
    status_dead: list[int] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)

    def take_post(
        self, post: events_pb2.PostCreate | events_pb2.InNetworkCreate, *, is_video: bool
    ) -> None:
        """Adds a created post as either topic has it. Raises ValueError for an id of 0."""
        check_ids(post.post_id, post.author_id)
        self.rows.append(
            (
                post.post_id,
                post.author_id,
                post.created_at_ms,
                post.in_reply_to_post_id,
                post.in_reply_to_user_id,
                post.reposted_post_id,
                post.reposted_user_id,
                post.conversation_id,
            )
        )
        is_reply = post.in_reply_to_post_id or post.in_reply_to_user_id
        self.row_flags.append(
            (REPLY if is_reply else 0)
            | (REPOST if post.reposted_post_id else 0)
            | (VIDEO if is_video else 0)
        )

    def posts(self) -> NDArray[np.void]:
        """[n] ROW."""
        posts = np.array(self.rows, ROW)
        if self.columns is None:
            return posts
        return np.concatenate([self.columns.posts, posts]) if self.rows else self.columns.posts

    def flags(self) -> NDArray[np.uint8]:
        """[n], as `posts`."""
        flags = np.array(self.row_flags, np.uint8)
        if self.columns is None:
            return flags
        return np.concatenate([self.columns.flags, flags]) if self.rows else self.columns.flags

    def statuses(self) -> Statuses:
        """(post ids, event times in ms, 1 = delete / 0 = undelete), each [m]."""
        ids = np.array(self.status_ids, np.uint64)
        times_ms = np.array(self.status_times_ms, np.int64)
        dead = np.array(self.status_dead, np.uint8)
        if self.columns is None:
            return ids, times_ms, dead
        known_ids, known_times_ms, known_dead = self.columns.statuses
        return (
            np.concatenate([known_ids, ids]),
            np.concatenate([known_times_ms, times_ms]),
            np.concatenate([known_dead, dead]),
        )


def decode_batch(records: Sequence[Record]) -> tuple[PostBatch, list[Poison]]:
    """Decodes every record that can be; the others come back as poison with the reason."""
    return decode_with(read_posts, decode_each, records)


ReadKernel = Callable[..., tuple[int, int]]  # event_kernels.read_events, post_kernels.read_posts
DecodeEach = Callable[[Sequence[Record]], tuple[PostBatch, list[Poison]]]


def decode_with(
    kernel: ReadKernel, each: DecodeEach, records: Sequence[Record]
) -> tuple[PostBatch, list[Poison]]:
    """All by ``kernel``, and what that leaves by ``each``, so that a poison comes with its
    reason."""
    whole = RecordBatch.of(records)
    columns, left = read_columns(kernel, whole.values())
    batch, poisons = each([whole[i] for i in left])
    batch.columns = columns
    return batch, poisons


def read_columns(kernel: ReadKernel, values: Values) -> tuple[EventColumns, list[int]]:
    """Everything that the kernel understands, and which records it does not. n values."""
    data, ends = values
    posts, flags = np.empty(ends.size, ROW), np.empty(ends.size, np.uint8)
    outcomes = np.empty(ends.size, np.uint8)
    room = data.size // event_kernels.STATUS_BYTES_MIN + ends.size
    ids, times_ms = np.empty(room, np.uint64), np.empty(room, np.int64)
    dead = np.empty(room, np.uint8)
    creates, changes = kernel(data, ends, outcomes, posts, flags, ids, times_ms, dead)
    statuses = ids[:changes], times_ms[:changes], dead[:changes]
    left: list[int] = np.flatnonzero(outcomes == event_kernels.LEFT).tolist()
    return EventColumns(posts[:creates], flags[:creates], statuses), left


def decode_each(records: Sequence[Record]) -> tuple[PostBatch, list[Poison]]:
    """The plain reference of `decode_batch`, and the judge of what its kernel leaves."""
    batch, poisons = PostBatch(), []
    for record in records:
        try:
            event = events_pb2.PostEvent.FromString(record.value)
            kind = event.WhichOneof("event")
            if kind is None:
                raise ValueError("PostEvent without a known event: expected create, delete, …")
            _TAKE[kind](batch, event)
        except (DecodeError, ValueError) as error:
            poisons.append(Poison(record, f"{type(error).__name__}: {error}"))
    return batch, poisons


def _take_create(batch: PostBatch, event: events_pb2.PostEvent) -> None:
    batch.take_post(event.create, is_video=is_video(event.create))


def is_video(post: events_pb2.PostCreate) -> bool:
    """Whether its only medium is a video that is long enough."""
    if len(post.media) != 1:
        return False
    only = post.media[0]
    return only.kind == events_pb2.Media.KIND_VIDEO and only.duration_ms >= VIDEO_MS_MIN


def _take_delete(batch: PostBatch, event: events_pb2.PostEvent) -> None:
    _take_status(batch, event.delete.post_id, event.delete.deleted_at_ms, 1)


def _take_undelete(batch: PostBatch, event: events_pb2.PostEvent) -> None:
    _take_status(batch, event.undelete.post_id, event.undelete.undeleted_at_ms, 0)


def _take_status(batch: PostBatch, post_id: int, at_ms: int, dead: int) -> None:
    check_ids(post_id)
    batch.status_ids.append(post_id)
    batch.status_times_ms.append(at_ms)
    batch.status_dead.append(dead)


def _pass_over(batch: PostBatch, event: events_pb2.PostEvent) -> None:
    """Labels are home_mixer's. Deviation: the original deletes the quoting post when the quoted
    one goes; here it stays and only loses its card."""
    kind = str(event.WhichOneof("event"))
    batch.passed_over[kind] = batch.passed_over.get(kind, 0) + 1


def check_ids(post_id: int, author_id: int = 1) -> None:
    """ValueError for ids of 0. The author of a deletion is not asked for: it is not needed, and a
    deletion that is put aside would leave the post standing."""
    if post_id == 0:
        raise ValueError("post_id is 0: expected the post's snowflake")
    if author_id == 0:
        raise ValueError("author_id is 0: expected the author's id")


_TAKE: Final[dict[str, Callable[[PostBatch, events_pb2.PostEvent], None]]] = {
    "create": _take_create,
    "delete": _take_delete,
    "undelete": _take_undelete,
    "quoted_post_delete": _pass_over,
    "labels": _pass_over,
}
