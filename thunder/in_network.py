"""The compact topic between the feeder and the serving replicas: to records and back.

A post's create is written under its author's key and, where it is a reply or a repost, also under
the key of the author whom it refers to, if that is in another partition: there it is answered with
(shares.py). A deletion or its undoing concerns every post that refers to the deleted one, wherever
those are, so it goes to every partition, many in one record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count, pairwise
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from protos import events_pb2
from service_kit.dead_letters import Poison
from service_kit.event_log import Entry, Record, event_key
from service_kit.partitions import hashes_of, keys_of, partition_of
from thunder.event_kernels import read_events
from thunder.events import PostBatch, check_ids, decode_with
from thunder.feed_kernels import CREATE_BYTES_MAX, write_creates
from thunder.shares import answering_authors

STATUSES_PER_RECORD_MAX: Final = 10_000  # at 21 bytes each a fifth of a record's limit


def encode(batch: PostBatch, partitions: int, now_ms: int) -> list[Entry]:
    """(key, value, timestamp_ms) of everything that thunder keeps of a batch."""
    return _creates(batch, partitions, now_ms) + _statuses(batch, partitions, now_ms)


def decode_in_network(records: Sequence[Record]) -> tuple[PostBatch, list[Poison]]:
    """As ``events.decode_batch``, of records of the compact topic."""
    return decode_with(read_events, decode_each, records)


def decode_each(records: Sequence[Record]) -> tuple[PostBatch, list[Poison]]:
    """The plain reference of `decode_in_network`, and the judge of what its kernel leaves."""
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
    posts, flags = batch.posts(), batch.flags()
    authors, answering = posts["author_id"], answering_authors(posts, flags)
    elsewhere = np.flatnonzero(hashes_of(authors) % partitions != hashes_of(answering) % partitions)
    values = encode_creates(posts, flags)
    entries = [(key, value, now_ms) for key, value in zip(keys_of(authors), values, strict=True)]
    copies = zip(keys_of(answering[elsewhere]), elsewhere.tolist(), strict=True)
    return entries + [(key, values[i], now_ms) for key, i in copies]


def encode_creates(posts: NDArray[np.void], flags: NDArray[np.uint8]) -> list[bytes]:
    """InNetworkEvent of each of posts [n] ROW with flags [n]."""
    out, ends = np.empty(posts.size * CREATE_BYTES_MAX, np.uint8), np.empty(posts.size, np.int64)
    joined = out[: write_creates(posts, flags, out, ends)].tobytes()
    bounds = [0, *ends.tolist()]
    return [joined[begin:end] for begin, end in pairwise(bounds)]


def _statuses(batch: PostBatch, partitions: int, now_ms: int) -> list[Entry]:
    columns = [column.tolist() for column in batch.statuses()]
    keys = keys_of_partitions(partitions) if columns[0] else []
    entries = []
    for begin in range(0, len(columns[0]), STATUSES_PER_RECORD_MAX):
        part = slice(begin, begin + STATUSES_PER_RECORD_MAX)
        value = _encode_statuses(zip(*(column[part] for column in columns), strict=True))
        entries += [(key, value, now_ms) for key in keys]
    return entries


def _encode_statuses(changes: Iterable[tuple[int, int, int]]) -> bytes:
    """Of (post id, event time in ms, 1 = delete / 0 = undelete)."""
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
