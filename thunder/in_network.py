"""The compact topic between the feeder and the serving replicas: to records and back.

A post's create is written under its author's key and, where it is a reply or a repost, also under
the key of the author whom it refers to, if that is in another partition: there it is answered with
(shares.py). A deletion or its undoing concerns every post that refers to the deleted one, wherever
those are, so it goes to every partition, many in one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from protos import events_pb2
from service_kit.dead_letters import Poison
from service_kit.event_log import Entry, Record, event_key
from service_kit.partitions import hashes_of, partition_of
from service_kit.record_batch import RecordBatch, Values
from thunder import event_kernels
from thunder.events import EventColumns, PostBatch, RowTuple, check_ids
from thunder.layout import ROW, VIDEO
from thunder.shares import answering_authors

STATUSES_PER_RECORD_MAX: Final = 10_000  # at 21 bytes each a fifth of a record's limit


def encode(batch: PostBatch, partitions: int, now_ms: int) -> list[Entry]:
    """(key, value, timestamp_ms) of everything that thunder keeps of a batch."""
    return _creates(batch, partitions, now_ms) + _statuses(batch, partitions, now_ms)


def decode_in_network(records: Sequence[Record]) -> tuple[PostBatch, list[Poison]]:
    """As ``events.decode_batch``, of records of the compact topic: all by a kernel, and what that
    leaves alone one by one, so that each poison comes with its reason."""
    whole = RecordBatch.of(records)
    columns, left = read_columns(whole.values())
    batch, poisons = decode_each([whole[i] for i in left])
    batch.columns = columns
    return batch, poisons


def read_columns(values: Values) -> tuple[EventColumns, list[int]]:
    """Everything that the kernel understands, and which records it does not. n values."""
    data, ends = values
    posts, flags = np.empty(ends.size, ROW), np.empty(ends.size, np.uint8)
    outcomes = np.empty(ends.size, np.uint8)
    room = data.size // event_kernels.STATUS_BYTES_MIN
    ids, times_ms = np.empty(room, np.uint64), np.empty(room, np.int64)
    dead = np.empty(room, np.uint8)
    creates, changes = event_kernels.read_events(
        data, ends, outcomes, posts, flags, ids, times_ms, dead
    )
    statuses = ids[:changes], times_ms[:changes], dead[:changes]
    left: list[int] = np.flatnonzero(outcomes == event_kernels.LEFT).tolist()
    return EventColumns(posts[:creates], flags[:creates], statuses), left


def decode_each(records: Sequence[Record]) -> tuple[PostBatch, list[Poison]]:
    """The plain reference of `read_columns`, and the judge of what that leaves."""
    batch, poisons = PostBatch(), []
    for record in records:
        try:
            event = events_pb2.InNetworkEvent.FromString(record.value)
            kind = event.WhichOneof("event")
            if kind == "create":
                _take_create(batch, event.create)
            elif kind == "statuses":
                _take_statuses(batch, event.statuses.statuses)
            else:
                raise ValueError("InNetworkEvent without a known event: expected create, statuses")
        except (DecodeError, ValueError) as error:
            poisons.append(Poison(record, f"{type(error).__name__}: {error}"))
    return batch, poisons


def keys_of_partitions(partitions: int) -> list[bytes]:
    """For every partition the key of the smallest id that belongs to it."""
    keys: dict[int, bytes] = {}
    ids = count(1)
    while len(keys) < partitions:
        key = event_key(next(ids))
        keys.setdefault(partition_of(key, partitions), key)
    return [keys[partition] for partition in range(partitions)]


def _creates(batch: PostBatch, partitions: int, now_ms: int) -> list[Entry]:
    if not batch.rows:
        return []
    posts, flags = batch.posts(), batch.flags()
    authors, answering = posts["author_id"], answering_authors(posts, flags)
    elsewhere = hashes_of(authors) % partitions != hashes_of(answering) % partitions
    entries = []
    for row, bits, other, twice in zip(
        batch.rows, batch.row_flags, answering.tolist(), elsewhere.tolist(), strict=True
    ):
        value = _encode_create(row, bits)
        entries.append((event_key(row[1]), value, now_ms))
        if twice:
            entries.append((event_key(other), value, now_ms))
    return entries


def _encode_create(row: RowTuple, flags: int) -> bytes:
    post_id, author_id, created_at_ms, parent, parent_user, source, source_user, root = row
    create = events_pb2.InNetworkCreate(
        post_id=post_id,
        author_id=author_id,
        created_at_ms=created_at_ms,
        in_reply_to_post_id=parent,
        in_reply_to_user_id=parent_user,
        reposted_post_id=source,
        reposted_user_id=source_user,
        conversation_id=root,
        has_video=flags & VIDEO != 0,
    )
    return events_pb2.InNetworkEvent(create=create).SerializeToString()


def _statuses(batch: PostBatch, partitions: int, now_ms: int) -> list[Entry]:
    entries = []
    for begin in range(0, len(batch.status_ids), STATUSES_PER_RECORD_MAX):
        end = begin + STATUSES_PER_RECORD_MAX
        value = _encode_statuses(batch, begin, end)
        entries += [(key, value, now_ms) for key in keys_of_partitions(partitions)]
    return entries


def _encode_statuses(batch: PostBatch, begin: int, end: int) -> bytes:
    changes = zip(
        batch.status_ids[begin:end],
        batch.status_times_ms[begin:end],
        batch.status_dead[begin:end],
        strict=True,
    )
    statuses = [
        events_pb2.InNetworkStatus(post_id=post_id, changed_at_ms=at_ms, deleted=bool(dead))
        for post_id, at_ms, dead in changes
    ]
    event = events_pb2.InNetworkEvent(statuses=events_pb2.InNetworkStatuses(statuses=statuses))
    return event.SerializeToString()


def _take_create(batch: PostBatch, post: events_pb2.InNetworkCreate) -> None:
    batch.take_post(post, is_video=post.has_video)


def _take_statuses(batch: PostBatch, statuses: Sequence[events_pb2.InNetworkStatus]) -> None:
    for status in statuses:
        check_ids(status.post_id)
    batch.status_ids += [status.post_id for status in statuses]
    batch.status_times_ms += [status.changed_at_ms for status in statuses]
    batch.status_dead += [int(status.deleted) for status in statuses]
