"""Whether a snapshot's offsets mean what they meant: is this the log that they were taken from?

A log that was made anew may have grown past the old offsets, and going on from there would skip
events unseen. So a snapshot keeps, by partition, the offset and check sum of the newest record that
went into it, and a start reads these records again before it trusts the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from service_kit.event_log import EventSource, LogUnavailableError, Record, TopicPartition
from service_kit.record_batch import RecordBatch

POLL_RECORDS: Final = 500
POLL_S: Final = 1.0
SILENT_POLLS_MAX: Final = 30
Mark: TypeAlias = tuple[int, int]  # offset, CRC-32 of key and value
Marks: TypeAlias = Mapping[TopicPartition, Mark]


def mark_of(record: Record) -> Mark:
    return record.offset, zlib.crc32(record.value, zlib.crc32(record.key))


def newest_marks(records: Sequence[Record]) -> dict[TopicPartition, Mark]:
    """The mark of each partition's last record of a batch."""
    return {at: mark_of(last) for at, last in RecordBatch.of(records).lasts().items()}


async def same_log(source: EventSource, marks: Marks, starts: Mapping[TopicPartition, int]) -> bool:
    """Whether every marked record that retention left is still there.

    ``starts``: oldest offset by partition. The source's positions are moved: seek afterwards.
    LogUnavailableError where the log brings nothing.
    """
    pending = {at: mark for at, mark in marks.items() if mark[0] >= starts.get(at, 0)}
    for (topic, partition), (offset, _) in pending.items():
        source.seek(topic, partition, offset)
    ends = await source.end_offsets()
    if any(offset >= ends.get(at, 0) for at, (offset, _) in pending.items()):
        return False
    silent = 0
    while pending:
        records = await source.poll(POLL_RECORDS, POLL_S)
        silent = 0 if records else silent + 1
        if silent == SILENT_POLLS_MAX:
            raise LogUnavailableError(f"the log does not bring the events at {sorted(pending)}")
        for record in records:
            mark = pending.get((record.topic, record.partition))
            if mark is None:
                continue
            if mark_of(record) != mark:
                return False
            del pending[(record.topic, record.partition)]
    return True
