"""The event log of one machine: a directory that several processes append to and follow.

    DIRECTORY/<topic>/<partition, 3 digits>/<base offset, 20 digits>.log
    DIRECTORY/groups/<group>.json      committed offsets, replaced atomically

Appends are serialised by a file lock a partition and are one ``write`` each. Followers poll with
a back-off and discover new topics, partitions and segments by themselves. ``append`` survives the
death of the process; ``flush`` also survives a power cut.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from service_kit.event_log import (
    Entry,
    Record,
    Start,
    TopicPartition,
    check_share,
    check_size,
)
from service_kit.log_format import SEGMENT_BYTES_MAX, LogCorruptedError, encode_frames
from service_kit.log_groups import GroupOffsets
from service_kit.log_reader import (
    Cursor,
    EndTracker,
    has_more,
    read_records,
    segment_path,
    segments,
)
from service_kit.partitions import partitions_of
from service_kit.record_batch import RecordBatch, Run

__all__ = ["EmbeddedLogSource", "EmbeddedLogWriter", "LogCorruptedError"]

PARTITIONS_MAX = 1000  # three digits in the directory's name
IDLE_WAIT_S_MIN = 0.001  # a follower's first look after silence
IDLE_WAIT_S_MAX = 0.05  # and its slowest: twenty cheap looks a second
TOPIC_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}")
GROUPS_DIRECTORY = "groups"
Taken: TypeAlias = list[tuple[TopicPartition, list[Record]]]


def partition_dir(directory: Path, topic: str, partition: int) -> Path:
    return directory / topic / f"{partition:03d}"


def partition_numbers(directory: Path, topic: str) -> list[int]:
    """Partitions of ``topic`` that exist, ascending; [] for a topic not yet written."""
    try:
        names = os.listdir(directory / topic)  # noqa: PTH208 - names alone, a third of the cost
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdigit())


def check_topic(topic: str) -> str:
    """The topic itself; ValueError for one that cannot be a directory name."""
    if not TOPIC_NAME.fullmatch(topic) or topic == GROUPS_DIRECTORY:
        raise ValueError(
            f"topic {topic!r}: expected letters, digits, '.', '_' or '-', not '{GROUPS_DIRECTORY}'"
        )
    return topic


class EmbeddedLogWriter:
    """Appends events; any number of writers in any number of processes may share a directory."""

    def __init__(self, directory: Path, *, partitions: Mapping[str, int] | None = None) -> None:
        """``partitions``: how many a topic gets when first written (1 where not named)."""
        self._directory = Path(directory)
        self._wanted = dict(partitions or {})
        for topic, count in self._wanted.items():
            if not 1 <= count <= PARTITIONS_MAX:
                raise ValueError(f"{count} partitions for {topic}: expected 1 to {PARTITIONS_MAX}")
        self._lock = threading.Lock()
        self._partitions: dict[str, list[_PartitionWriter]] = {}
        self._directory.mkdir(parents=True, exist_ok=True)

    def append_many_sync(self, topic: str, entries: Sequence[Entry]) -> None:
        """Appends (key, value, timestamp_ms) triples; readers see them on return.

        Raises RecordTooLargeError (nothing appended), ValueError for a bad topic name and
        LogCorruptedError where the partition's end is damaged.
        """
        for entry in entries:
            check_size(topic, entry)
        with self._lock:
            writers = self._writers(topic)
            if len(writers) == 1:
                writers[0].append(entries)
                return
            shares: list[list[Entry]] = [[] for _ in writers]
            places = partitions_of([entry[0] for entry in entries], len(writers))
            for place, entry in zip(places, entries, strict=True):
                shares[place].append(entry)
            for writer, share in zip(writers, shares, strict=True):
                writer.append(share)

    def flush_sync(self) -> None:
        """Forces everything appended by this writer onto the disk."""
        with self._lock:
            for writers in self._partitions.values():
                for writer in writers:
                    writer.sync()

    async def append(self, topic: str, key: bytes, value: bytes, timestamp_ms: int) -> None:
        await self.append_many(topic, [(key, value, timestamp_ms)])

    async def append_many(self, topic: str, entries: Sequence[Entry]) -> None:
        await asyncio.to_thread(self.append_many_sync, topic, entries)

    async def flush(self) -> None:
        await asyncio.to_thread(self.flush_sync)

    async def close(self) -> None:
        await asyncio.to_thread(self.close_sync)

    def close_sync(self) -> None:
        """Flushes and lets go of every file; a later append opens them again."""
        self.flush_sync()
        with self._lock:
            for writers in self._partitions.values():
                for writer in writers:
                    writer.close()
            self._partitions.clear()

    def _writers(self, topic: str) -> list[_PartitionWriter]:
        if topic not in self._partitions:
            existing = partition_numbers(self._directory, check_topic(topic))
            count = max(len(existing), self._wanted.get(topic, 1))
            paths = [partition_dir(self._directory, topic, number) for number in range(count)]
            for path in paths:
                path.mkdir(parents=True, exist_ok=True)
            self._partitions[topic] = [_PartitionWriter(path) for path in paths]
        return self._partitions[topic]


class _PartitionWriter:
    """Appends to one partition under its file lock."""

    def __init__(self, directory: Path) -> None:
        self._dir = directory
        self._lock_fd = os.open(directory / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        self._end = EndTracker(directory)
        self._fd = -1
        self._fd_base = -1

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        with self._locked():
            offset = self._end.look()
            data, end_offset = encode_frames(offset, entries)
            self._open(offset)
            self._write(data)
            self._end.byte += len(data)
            self._end.offset = end_offset

    def sync(self) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        os.close(self._lock_fd)

    def _open(self, offset: int) -> None:
        """Opens the segment to append to, without a torn tail, or a new one when it is full."""
        end = self._end
        if end.base < 0 or end.byte >= SEGMENT_BYTES_MAX:
            end.base, end.byte = offset, 0
        if self._fd_base != end.base:
            self._reopen(end.base)
        if os.fstat(self._fd).st_size > end.byte:
            os.ftruncate(self._fd, end.byte)  # a writer died inside its write

    def _reopen(self, base: int) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
        path = segment_path(self._dir, base)
        self._fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._fd_base = base

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)


class EmbeddedLogSource:
    """Follows topics of the log; new partitions found on the way are read from their start."""

    def __init__(
        self,
        directory: Path,
        topics: Sequence[str],
        *,
        group: str | None = None,
        start: Start = "earliest",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """``start``: where partitions that exist now begin; ``committed`` needs a ``group`` and
        falls back to the earliest record where the group has committed nothing. ``share`` (i, n):
        only the partitions p with p % n == i."""
        if start == "committed" and group is None:
            raise ValueError('start="committed" needs a group: pass group="name"')
        self._directory = Path(directory)
        self._topics = [check_topic(topic) for topic in topics]
        self._share = share
        self._group = GroupOffsets(self._directory / GROUPS_DIRECTORY, group) if group else None
        self._cursors: dict[TopicPartition, Cursor] = {}
        self._ends: dict[TopicPartition, EndTracker] = {}
        self._next = 0
        self._place(start)

    def _place(self, start: Start) -> None:
        committed = self._group.load() if self._group and start == "committed" else {}
        for at in self._existing():
            offset = self._end(at) if start == "latest" else committed.get(at, 0)
            self._cursors[at] = Cursor(offset)

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        taken = await self._poll(max_records, timeout_s)
        return [record for _, records in taken for record in records]

    async def poll_batch(self, max_records: int, timeout_s: float) -> RecordBatch:
        taken = await self._poll(max_records, timeout_s)
        return await asyncio.to_thread(_batch_of, taken)

    async def _poll(self, max_records: int, timeout_s: float) -> Taken:
        if max_records < 1:
            raise ValueError(f"max_records {max_records}: expected at least 1")
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        wait_s = IDLE_WAIT_S_MIN
        while True:
            taken, cursors = await asyncio.to_thread(self._read, max_records)
            self._cursors.update(cursors)
            left_s = deadline_s - loop.time()
            if taken or left_s <= 0:
                self._next += 1
                return taken
            await asyncio.sleep(min(wait_s, left_s))
            wait_s = min(2 * wait_s, IDLE_WAIT_S_MAX)

    def positions(self) -> dict[TopicPartition, int]:
        return {at: cursor.offset for at, cursor in self._cursors.items()}

    async def start_offsets(self) -> dict[TopicPartition, int]:
        return await asyncio.to_thread(lambda: {at: self._start(at) for at in self._existing()})

    async def end_offsets(self) -> dict[TopicPartition, int]:
        return await asyncio.to_thread(lambda: {at: self._end(at) for at in self._existing()})

    def seek(self, topic: str, partition: int, offset: int) -> None:
        if topic not in self._topics:
            raise ValueError(f"topic {topic!r} is not followed here; followed: {self._topics}")
        if offset < 0:
            raise ValueError(f"offset {offset}: expected 0 or more")
        self._cursors[(topic, partition)] = Cursor(offset)

    async def commit(self) -> None:
        if self._group is None:
            raise RuntimeError("this source has no group to commit for: pass group= to it")
        await asyncio.to_thread(self._group.store, self.positions())

    async def close(self) -> None:
        """Holds no files between polls; nothing to let go of."""

    def _read(self, max_records: int) -> tuple[Taken, dict[TopicPartition, Cursor]]:
        """Reads partitions in turn, beginning with another one each time; moves nothing."""
        cursors = {at: self._cursors.get(at, Cursor(0)) for at in self._existing()}
        order = list(cursors)
        turn = self._next % len(order) if order else 0
        taken: Taken = []
        wanted = max_records
        for at in order[turn:] + order[:turn]:
            path = partition_dir(self._directory, *at)
            if wanted and has_more(path, cursors[at]):
                records, cursors[at] = read_records(path, *at, cursors[at], wanted)
                wanted -= len(records)
                taken += [(at, records)] if records else []
        return taken, cursors

    def _existing(self) -> list[TopicPartition]:
        found: list[TopicPartition] = []
        part, parts = self._share
        for topic in self._topics:
            numbers = partition_numbers(self._directory, topic)
            check_share(self._share, topic, len(numbers))
            found += [(topic, number) for number in numbers if number % parts == part]
        return found

    def _start(self, at: TopicPartition) -> int:
        return next(iter(segments(partition_dir(self._directory, *at))), 0)

    def _end(self, at: TopicPartition) -> int:
        tracker = self._ends.setdefault(at, EndTracker(partition_dir(self._directory, *at)))
        return tracker.look()


def _batch_of(taken: Taken) -> RecordBatch:
    return RecordBatch([Run(*at, records) for at, records in taken])
