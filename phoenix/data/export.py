"""Event topics as Parquet part files, for the SQL join and for whoever else reads Parquet.

    DIRECTORY/served/part-000001.parquet    one row a served post
    DIRECTORY/actions/part-000001.parquet   one row an action
    DIRECTORY/posts/part-000001.parquet     one row a post event

Each event of the log is in exactly one part, also after a crash: a part's own metadata says how far
it reads, and a part is there wholly or not at all. The next export goes on from the newest part.
What the log holds twice is here twice: delivery is at least once, and the join is what removes
doubles. What gives no row is counted by reason, in the result and in the part.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from phoenix.data.event_rows import TopicRows, topic_rows
from service_kit.event_log import (
    TOPIC_ACTIONS,
    TOPIC_POSTS,
    TOPIC_SERVED,
    EventSource,
    Record,
    TopicPartition,
    records_until_now,
)

DIRECTORIES = {TOPIC_SERVED: "served", TOPIC_ACTIONS: "actions", TOPIC_POSTS: "posts"}
PART_ROWS_MAX = 500_000  # some 40 MB of served posts, and their rows in memory
_OFFSETS_KEY, _REJECTED_KEY = b"foryou.export.next_offsets", b"foryou.export.rejected"
_LOCK_FILE = ".export.lock"

Offsets = dict[int, int]  # partition -> next offset


@dataclass(slots=True)
class TopicExport:
    """What one export added of a topic."""

    rows: int = 0
    parts: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    lost: int = 0  # events that the log forgot before they were exported


def part_files(directory: Path, topic: str) -> list[Path]:
    """The parts of a topic, oldest first. ValueError where there is none."""
    parts = _parts(directory / DIRECTORIES[topic])
    if not parts:
        raise ValueError(
            f"{directory / DIRECTORIES[topic]} holds no part-*.parquet; expected the directory "
            "that `foryou export --out` wrote"
        )
    return parts


async def export_topics(
    source: EventSource, directory: Path, part_rows_max: int = PART_ROWS_MAX
) -> dict[str, TopicExport]:
    """Append what the topics hold now and the parts do not. Does not close the source.

    ValueError when another export is writing there or a part is damaged; LogUnavailableError when
    the log does not give what it has.
    """
    with _locked(directory):
        writers = {
            topic: _TopicWriter(directory / name, rows, part_rows_max)
            for (topic, name), rows in zip(DIRECTORIES.items(), topic_rows().values(), strict=True)
        }
        await _seek(source, writers)
        async for records in records_until_now(source):
            for record in records:
                writers[record.topic].add(record)
        for writer in writers.values():
            writer.finish()
    return {topic: writer.result for topic, writer in writers.items()}


class _TopicWriter:
    """Collects one topic's rows and writes them part by part."""

    def __init__(self, directory: Path, rows: TopicRows, part_rows_max: int) -> None:
        directory.mkdir(exist_ok=True)
        self._directory, self._rows, self._part_rows_max = directory, rows, part_rows_max
        parts = _parts(directory)
        self._next_part = 1 + (int(parts[-1].stem.removeprefix("part-")) if parts else 0)
        self.offsets = _offsets(parts[-1]) if parts else {}
        self._pending = not parts  # an empty topic has one empty part, so that it can be read
        self.result = TopicExport()

    def add(self, record: Record) -> None:
        if record.offset < self.offsets.get(record.partition, 0):
            return  # exported before
        self._rows.add(record)
        self.offsets[record.partition] = record.offset + 1
        self._pending = True
        if len(self._rows.rows) >= self._part_rows_max:
            self._write()

    def finish(self) -> None:
        if self._pending:
            self._write()

    def _write(self) -> None:
        rejected = dict(self._rows.rejected)
        table = self._rows.take()
        metadata = {_OFFSETS_KEY: json.dumps(self.offsets), _REJECTED_KEY: json.dumps(rejected)}
        path = self._directory / f"part-{self._next_part:06d}.parquet"
        write_durably(table.replace_schema_metadata(metadata), path)
        self._rows.rejected.clear()
        self._next_part += 1
        self._pending = False
        self.result.rows += len(table)
        self.result.parts += 1
        for reason, count in rejected.items():
            self.result.rejected[reason] = self.result.rejected.get(reason, 0) + count


def write_durably(table: pa.Table, path: Path) -> None:
    """Write under a hidden name, flush to disk, rename: a reader sees all of it or nothing."""
    unfinished = path.with_name(f".{path.name}.tmp")
    with unfinished.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


async def _seek(source: EventSource, writers: Mapping[str, _TopicWriter]) -> None:
    """Places the source where the parts end; counts what the log no longer has."""
    starts: Mapping[TopicPartition, int] = await source.start_offsets()
    for topic, writer in writers.items():
        for partition, offset in writer.offsets.items():
            start = starts.get((topic, partition), 0)
            writer.result.lost += max(start - offset, 0)
            source.seek(topic, partition, max(offset, start))


def _parts(directory: Path) -> list[Path]:
    return sorted(directory.glob("part-*.parquet")) if directory.is_dir() else []


def _offsets(part: Path) -> Offsets:
    try:
        metadata = pq.read_schema(part).metadata or {}
        stored = json.loads(metadata[_OFFSETS_KEY])
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise ValueError(
            f"{part} is no part of an export ({error}): take it away, or export to an empty "
            "directory"
        ) from error
    return {int(partition): int(offset) for partition, offset in stored.items()}


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another export is writing to {directory}; let it end, or name another --out"
            ) from error
        yield
