"""Events of one or several polls, kept as the log's client gave them: no object of ours an event.

To a handler a batch is a sequence of `Record`s, each made when it is looked at. A handler for which
that is too dear takes `values`, all values in one buffer, and asks for the few records it needs.

Glossary: n events of the batch; *run* neighbouring events of one partition; *row* one event as a
client library or our log gave it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from service_kit.event_log import Record, TopicPartition


class Row(Protocol):
    """What a `Record` and the records of Kafka's clients have in common."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...  # ms
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


class Values(NamedTuple):
    """Value i of a batch is ``data[ends[i - 1] : ends[i]]``, the first one ``data[: ends[0]]``."""

    data: NDArray[np.uint8]  # [sum of the values' bytes]
    ends: NDArray[np.int64]  # [n]


class Run:
    """Rows of one partition, in order; never empty."""

    __slots__ = ("partition", "rows", "topic", "values")

    def __init__(self, topic: str, partition: int, rows: Sequence[Row]) -> None:
        self.topic = topic
        self.partition = partition
        self.rows = rows
        self.values: list[bytes] = [row.value or b"" for row in rows]

    def keys(self) -> list[bytes]:
        return [row.key or b"" for row in self.rows]

    def records(self) -> Iterator[Record]:
        topic, partition = self.topic, self.partition
        for row, value in zip(self.rows, self.values, strict=True):
            yield Record(topic, partition, row.offset, row.timestamp, row.key or b"", value)

    def record(self, index: int) -> Record:
        row = self.rows[index]
        return Record(
            self.topic, self.partition, row.offset, row.timestamp, row.key or b"", row.value or b""
        )


class RecordBatch(Sequence[Record]):
    """Events in order per partition. Immutable; ``+`` joins two without copying rows."""

    __slots__ = ("_ends", "runs")

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        self.runs = tuple(runs)
        self._ends = np.cumsum([len(run.values) for run in self.runs], dtype=np.int64)

    @classmethod
    def of(cls, records: Sequence[Record]) -> RecordBatch:
        """The batch itself where it is one already."""
        if isinstance(records, RecordBatch):
            return records
        runs = groupby(records, key=lambda record: (record.topic, record.partition))
        return cls([Run(*at, list(rows)) for at, rows in runs])

    def __len__(self) -> int:
        return int(self._ends[-1]) if self.runs else 0

    def __iter__(self) -> Iterator[Record]:
        for run in self.runs:
            yield from run.records()

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(f"record {index} of a batch of {len(self)}")
        which = int(np.searchsorted(self._ends, at, side="right"))
        return self.runs[which].record(at - int(self._ends[which]))  # counted from the run's end

    def __add__(self, other: RecordBatch) -> RecordBatch:
        return RecordBatch(self.runs + other.runs)

    def values(self) -> Values:
        """All values in one buffer that cannot be written."""
        every = [value for run in self.runs for value in run.values]
        sizes = np.fromiter(map(len, every), np.int64, len(every))
        return Values(np.frombuffer(b"".join(every), np.uint8), np.cumsum(sizes))

    def bytes_bound(self) -> int:
        """No record has more bytes, key and value: cheaper than to look at each."""
        return max((_longest(run.keys()) + _longest(run.values) for run in self.runs), default=0)

    def firsts(self) -> dict[TopicPartition, int]:
        """By partition the offset of its first record."""
        first: dict[TopicPartition, int] = {}
        for run in self.runs:
            first.setdefault((run.topic, run.partition), run.rows[0].offset)
        return first

    def lasts(self) -> dict[TopicPartition, Record]:
        """By partition its last record."""
        return {(run.topic, run.partition): run.record(-1) for run in self.runs}


def _longest(parts: list[bytes]) -> int:
    return max(map(len, parts))
