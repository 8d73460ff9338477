"""The one interface through which services hand events to one another.

Two implementations stand behind it: the embedded log of this package (a directory that several
processes share) and Kafka. Delivery is at least once; order holds inside a partition only, so
every consumer is idempotent and converges whatever the order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from service_kit.record_batch import RecordBatch

TOPIC_POSTS = "foryou.posts"
TOPIC_ACTIONS = "foryou.actions"
TOPIC_GRAPH = "foryou.graph"
TOPIC_SERVED = "foryou.served"
TOPIC_IN_NETWORK = "foryou.in_network_posts"
DEAD_LETTER_SUFFIX = ".dead"  # <topic>.dead keeps what a consumer could not use, with the reason
RECORD_BYTES_MAX = 1_000_000  # key + value; below Kafka's default, so an event fits either log
ID_BYTES = 8
DRAIN_RECORDS = 5_000  # a batch of `records_until_now`
DRAIN_POLL_S = 0.5
DRAIN_SILENT_POLLS_MAX = 60  # half a minute without what is there

TopicPartition: TypeAlias = tuple[str, int]
Start: TypeAlias = Literal["earliest", "latest", "committed"]  # where a source begins
Entry: TypeAlias = tuple[bytes, bytes, int]  # key, value, timestamp_ms


class Record(NamedTuple):
    """One event as read. A named tuple because millions are made a minute (4 times cheaper)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes

    @property
    def timestamp(self) -> int:
        """`timestamp_ms`, as Kafka's clients name it (record_batch.py)."""
        return self.timestamp_ms


class RecordTooLargeError(ValueError):
    """An event above ``RECORD_BYTES_MAX``; nothing of its batch was appended."""


class LogUnavailableError(ConnectionError):
    """The log does not answer now; nothing is wrong with the events: try again later."""


class TopicError(RuntimeError):
    """A topic is missing or its partitions do not fit; the message says how to mend it."""


class EventSink(Protocol):
    """Where events go. Each call raises LogUnavailableError when the log stays away too long
    (what was being appended may or may not be there then: append it again), TopicError for a
    topic that cannot be written, and RecordTooLargeError before anything is appended."""

    async def append(self, topic: str, key: bytes, value: bytes, timestamp_ms: int) -> None:
        """Appends one event; visible to readers on return, durable after ``flush``.

        ``timestamp_ms``: when it happened. Kafka's topics are made to stamp arrival instead.
        """
        ...

    async def append_many(self, topic: str, entries: Sequence[Entry]) -> None:
        """Appends (key, value, timestamp_ms) triples in order, partition by partition."""
        ...

    async def flush(self) -> None:
        """Returns once everything appended so far survives a power cut."""
        ...

    async def close(self) -> None: ...


class EventSource(Protocol):
    """One consumer's view of one or more topics. Not to be shared between tasks."""

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to ``max_records`` next events, in order per partition; [] when none came in time.

        A cancelled poll loses nothing: positions move only when the records are returned.
        """
        ...

    async def poll_batch(self, max_records: int, timeout_s: float) -> RecordBatch:
        """As `poll`, for those whom an object an event is too dear."""
        ...

    def positions(self) -> Mapping[TopicPartition, int]:
        """Next offset to read of every partition known so far."""
        ...

    async def start_offsets(self) -> Mapping[TopicPartition, int]:
        """Offset of the oldest event that is still kept, of every partition that exists now."""
        ...

    async def end_offsets(self) -> Mapping[TopicPartition, int]:
        """Offset after the newest event of every partition that exists now."""
        ...

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """The next poll of that partition starts at ``offset``."""
        ...

    async def commit(self) -> None:
        """Stores the positions for the group; raises RuntimeError for a source without one."""
        ...

    async def close(self) -> None: ...


async def records_until_now(source: EventSource) -> AsyncIterator[list[Record]]:
    """Batches of everything that is in the log at the call; for readers that then end.

    ``source`` begins where the reader wants; a few newer events may come, too. Raises
    LogUnavailableError where what is there does not come.
    """
    ends = await source.end_offsets()
    silent_polls = 0
    while any(source.positions().get(at, 0) < end for at, end in ends.items()):
        records = await source.poll(DRAIN_RECORDS, DRAIN_POLL_S)
        silent_polls = 0 if records else silent_polls + 1
        if silent_polls > DRAIN_SILENT_POLLS_MAX:
            raise LogUnavailableError(f"read to {source.positions()}, and nothing more of {ends}")
        if records:
            yield records


def check_size(topic: str, entry: Entry) -> None:
    """Raises RecordTooLargeError for an event that readers could not be asked to hold."""
    size = len(entry[0]) + len(entry[1])
    if size > RECORD_BYTES_MAX:
        raise RecordTooLargeError(
            f"record of {size} bytes for {topic}: at most {RECORD_BYTES_MAX} (key + value); "
            "split the event or keep large payloads outside the log"
        )


def check_share(share: tuple[int, int], topic: str, partitions: int) -> None:
    """Raises TopicError where ``partitions`` cannot be dealt out to the shares of authors."""
    if partitions % share[1]:
        raise TopicError(
            f"{topic} has {partitions} partitions, which cannot be dealt out to {share[1]} shares: "
            f"a multiple of {share[1]} is needed; create the topic with one "
            "(foryou topics --partitions N), or run another number of shares"
        )


def event_key(entity_id: int) -> bytes:
    """Key of an event: the 64-bit id as 8 big-endian bytes. ValueError outside 64 bits."""
    if not 0 <= entity_id < 1 << 64:
        raise ValueError(f"id {entity_id}: expected an unsigned 64-bit number")
    return entity_id.to_bytes(ID_BYTES, "big")


def key_id(key: bytes) -> int:
    """The id inside an event's key; ValueError unless it has 8 bytes."""
    if len(key) != ID_BYTES:
        raise ValueError(f"event key of {len(key)} bytes: expected the id as {ID_BYTES} bytes")
    return int.from_bytes(key, "big")


def dead_letter_topic(topic: str) -> str:
    """Where the unusable events of ``topic`` are put aside."""
    return topic + DEAD_LETTER_SUFFIX
