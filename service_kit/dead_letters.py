"""Records that a consumer could not use, put aside with their bytes and the reason.

A dead letter on ``<topic>.dead`` keeps the record's key; its value is one line of JSON (topic,
partition, offset, timestamp_ms, reason), a newline, then the record's value, byte for byte.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from service_kit.event_log import (
    RECORD_BYTES_MAX,
    Entry,
    EventSink,
    EventSource,
    Record,
    dead_letter_topic,
)

logger = logging.getLogger(__name__)
REASON_CHARS_MAX = 500  # an error that quotes its input must not outgrow the record
SCAN_RECORDS = 1_000  # dead letters looked at in one poll
Event = TypeVar("Event")
Place: TypeAlias = tuple[str, int, int]  # topic, partition, offset of a record


@dataclass(frozen=True, slots=True)
class Poison:
    """A record and why it is of no use."""

    record: Record
    reason: str


class DeadLetters:
    """Writes poison to its topic's dead-letter topic, each record once."""

    def __init__(self, sink: EventSink, known: frozenset[Place] = frozenset()) -> None:
        self._sink = sink
        self._known = known

    async def put_aside(self, poisons: Sequence[Poison], now_ms: int) -> None:
        """Raises what the sink raises: a record is never dropped because it cannot be kept."""
        by_topic: dict[str, list[Entry]] = {}
        for poison in poisons:
            record = poison.record
            if (record.topic, record.partition, record.offset) in self._known:
                continue
            logger.warning("record put aside", extra=describe(poison))
            entry = (record.key, encode(poison), now_ms)
            by_topic.setdefault(dead_letter_topic(record.topic), []).append(entry)
        for topic, entries in by_topic.items():
            await self._sink.append_many(topic, entries)


def describe(poison: Poison) -> dict[str, object]:
    """Everything about the record but its content, which may be a user's text."""
    record = poison.record
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "reason": poison.reason[:REASON_CHARS_MAX],
    }


def encode(poison: Poison) -> bytes:
    """Value of a dead letter. The bytes of a record at the size limit are cut to fit, and the
    header's ``value_bytes`` then still says how many there were."""
    header = describe(poison) | {"value_bytes": len(poison.record.value)}
    line = json.dumps(header).encode() + b"\n"
    room = RECORD_BYTES_MAX - len(line) - len(poison.record.key)
    return line + poison.record.value[:room]


def decode(value: bytes) -> tuple[dict[str, object], bytes]:
    """Header and original bytes of a dead letter; ValueError for anything else."""
    line, newline, original = value.partition(b"\n")
    if not newline:
        raise ValueError("not a dead letter: expected one line of JSON before the bytes")
    return json.loads(line), original


def parse_records(
    records: Sequence[Record], parse: Callable[[bytes], Event]
) -> tuple[list[tuple[Record, Event]], list[Poison]]:
    """Parses each value; what raises becomes poison with the error as its reason."""
    events: list[tuple[Record, Event]] = []
    poisons: list[Poison] = []
    for record in records:
        try:
            events.append((record, parse(record.value)))
        except Exception as error:  # noqa: BLE001 - any parser's failure is this record's
            poisons.append(Poison(record, f"{type(error).__name__}: {error}"))
    return events, poisons


async def known_dead_letters(source: EventSource) -> frozenset[Place]:
    """Which records were put aside already; ``source`` follows dead-letter topics from their
    start. A consumer that replays its topic at each start passes these to ``Consumer``."""
    places: set[Place] = set()
    while records := await source.poll(SCAN_RECORDS, 0.0):
        for record in records:
            header, _ = decode(record.value)
            place = str(header["topic"]), int(str(header["partition"])), int(str(header["offset"]))
            places.add(place)
    return frozenset(places)
