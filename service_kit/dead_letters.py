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
    TopicError,
    dead_letter_topic,
    records_until_now,
)

logger = logging.getLogger(__name__)
REASON_CHARS_MAX = 500  # an error that quotes its input must not outgrow the record
KEY_BYTES_MAX = 1_024  # of a dead letter's key; ours have 8, a foreign one may have anything
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
            entry = (record.key[:KEY_BYTES_MAX], encode(poison), now_ms)
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
    header's ``value_bytes`` and ``key_bytes`` then still say how many there were."""
    sizes = {"key_bytes": len(poison.record.key), "value_bytes": len(poison.record.value)}
    line = json.dumps(describe(poison) | sizes).encode() + b"\n"
    room = RECORD_BYTES_MAX - len(line) - min(len(poison.record.key), KEY_BYTES_MAX)
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
    start. A consumer that replays its topic at each start passes these to ``Consumer``.

    A letter that cannot be read is no reason not to start: it is logged. Without the topic nothing
    was put aside. Raises LogUnavailableError.
    """
    places: set[Place] = set()
    try:
        async for records in records_until_now(source):
            places.update(place for place in map(_place, records) if place is not None)
    except TopicError as error:
        logger.warning("no dead letters are known", extra={"reason": str(error)})
    return frozenset(places)


def _place(letter: Record) -> Place | None:
    try:
        header, _ = decode(letter.value)
        return str(header["topic"]), int(str(header["partition"])), int(str(header["offset"]))
    except (ValueError, KeyError, TypeError) as error:
        place = {"topic": letter.topic, "offset": letter.offset}
        logger.error("not a dead letter", extra={**place, "reason": repr(error)})
        return None
