"""Appends events to Kafka: acknowledged by every replica in sync, without duplicates of our own.

Idempotent producers (sequence numbers a partition), so that a retry never repeats or reorders: one
for single events, which the client library joins into batches by itself, and one for large calls,
whose batches are made here, which costs a tenth a record. A producer that failed is never used
again: what it had not delivered has left gaps in its sequence. The next append opens another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
)

from service_kit.event_log import (
    RECORD_BYTES_MAX,
    Entry,
    RecordTooLargeError,
    TopicError,
    check_size,
)
from service_kit.kafka.link import (
    CLOSE_S_MAX,
    METADATA_AGE_MS,
    REQUEST_MS,
    Link,
    LogMetrics,
    quiet_client_logs,
)
from service_kit.partitions import partitions_of

logger = logging.getLogger(__name__)
DELIVERY_S_MAX = 20.0  # a broker's restart or a leader's election is waited out, a lost Kafka not
PART_EVENTS_MAX = 20_000  # delivered at once: each part of a large call has the time above
PART_BYTES_MAX = 8 << 20
LARGE_CALL = 100  # events; from there on batches made here are worth their own connection
BATCH_BYTES_MAX = 512 << 10  # half of what a topic takes at once; one larger event goes alone


class KafkaSink:
    """An `EventSink`. Tasks may share it; order holds among the events of one call and key."""

    def __init__(
        self,
        servers: str,
        *,
        metrics: LogMetrics,
        prefix: str = "",
        delivery_s: float = DELIVERY_S_MAX,
    ) -> None:
        """``delivery_s``: how long one append may take, retries and all. Connects when first
        used, so that a service starts while Kafka is away."""
        quiet_client_logs()
        self._servers = servers
        self._prefix = prefix
        self._delivery_s = delivery_s
        self._link = Link(servers, "append", metrics)
        self._producers: dict[bool, Any] = {}  # by whether for large calls
        self._connecting = asyncio.Lock()
        self._large_call = asyncio.Lock()  # the library lets batches of several callers starve
        self._retiring: set[asyncio.Task[None]] = set()

    async def append(self, topic: str, key: bytes, value: bytes, timestamp_ms: int) -> None:
        await self.append_many(topic, [(key, value, timestamp_ms)])

    async def append_many(self, topic: str, entries: Sequence[Entry]) -> None:
        """Returns once all are acknowledged: durable from then on."""
        for entry in entries:
            check_size(topic, entry)
        if not entries:
            return
        if len(entries) < LARGE_CALL:
            await self._deliver(topic, entries, large=False)
            return
        async with self._large_call:
            for part in parts_of(entries):
                await self._deliver(topic, part, large=True)

    async def flush(self) -> None:
        """Nothing to do: every append was acknowledged before it returned."""

    async def close(self) -> None:
        for producer in list(self._producers.values()):
            self._retire(producer)
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=CLOSE_S_MAX)

    async def _deliver(self, topic: str, entries: Sequence[Entry], *, large: bool) -> None:
        used = None
        try:
            with self._link.watched():
                async with asyncio.timeout(self._delivery_s):
                    used = await self._connected(large)
                    await self._send(used, self._prefix + topic, entries, large)
        except (OSError, RecordTooLargeError):
            if used is not None:
                self._retire(used)
            raise

    async def _connected(self, large: bool) -> Any:
        async with self._connecting:
            if large not in self._producers:
                producer = self._new_producer()
                try:
                    await producer.start()
                except BaseException:
                    self._retire(producer)
                    raise
                self._producers[large] = producer
            return self._producers[large]

    def _new_producer(self) -> Any:
        return AIOKafkaProducer(
            bootstrap_servers=self._servers,
            client_id="foryou",
            acks="all",
            enable_idempotence=True,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=2 * RECORD_BYTES_MAX,  # the limit is ours, checked before
            request_timeout_ms=REQUEST_MS,
            metadata_max_age_ms=METADATA_AGE_MS,
        )

    async def _send(self, producer: Any, name: str, entries: Sequence[Entry], large: bool) -> None:
        count = await self._partitions(producer, name)
        places = partitions_of([entry[0] for entry in entries], count)
        if large:
            sent = await _send_batches(producer, name, _by_partition(entries, places, count))
        else:
            sent = await _send_each(producer, name, entries, places)
        await asyncio.wait(sent)  # leaves the futures alone when it is cancelled
        for future in sent:
            error = future.exception()
            if isinstance(error, MessageSizeTooLargeError):
                raise RecordTooLargeError(_too_large(name)) from error
            if error is not None:
                raise error

    async def _partitions(self, producer: Any, name: str) -> int:
        known = producer.client.cluster.partitions_for_topic(name)
        if known is None:
            try:
                metadata = await producer.client.fetch_all_metadata()
            except InvalidTopicError as error:
                raise TopicError(f"{name!r} cannot be a topic's name: {error}") from error
            if metadata.partitions_for_topic(name) is None:
                raise TopicError(missing_topic([name], self._servers))
            known = await producer.partitions_for(name)
        return len(known)

    def _retire(self, producer: Any) -> None:
        """Ends a producer in the background; the next append opens another."""
        self._producers = {k: kept for k, kept in self._producers.items() if kept is not producer}
        task = asyncio.create_task(_end(producer))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)


def parts_of(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The entries in their order, in parts that even a slow Kafka takes in time."""
    begin = size = 0
    for at, (key, value, _) in enumerate(entries):
        if at > begin and (at - begin == PART_EVENTS_MAX or size > PART_BYTES_MAX):
            yield entries[begin:at]
            begin, size = at, 0
        size += len(key) + len(value)
    yield entries[begin:]


async def _send_each(
    producer: Any, name: str, entries: Sequence[Entry], places: Sequence[int]
) -> list[asyncio.Future[Any]]:
    sent: list[asyncio.Future[Any]] = []
    for (key, value, timestamp_ms), place in zip(entries, places, strict=True):
        future = await producer.send(
            name, value, key=key, partition=place, timestamp_ms=timestamp_ms
        )
        future.add_done_callback(_seen)
        sent.append(future)
    return sent


def _by_partition(
    entries: Sequence[Entry], places: Sequence[int], count: int
) -> list[tuple[int, list[Entry]]]:
    shares: list[list[Entry]] = [[] for _ in range(count)]
    for place, entry in zip(places, entries, strict=True):
        shares[place].append(entry)
    return [(number, share) for number, share in enumerate(shares) if share]


async def _send_batches(
    producer: Any, name: str, shares: Sequence[tuple[int, list[Entry]]]
) -> list[asyncio.Future[Any]]:
    """Partitions side by side, the batches of each in order."""
    sends = (_send_share(producer, name, number, share) for number, share in shares)
    return [future for sent in await asyncio.gather(*sends) for future in sent]


async def _send_share(
    producer: Any, name: str, partition: int, share: Sequence[Entry]
) -> list[asyncio.Future[Any]]:
    sent = []
    batch = producer.create_batch()
    for key, value, timestamp_ms in share:
        if batch.append(key=key, value=value, timestamp=timestamp_ms) is None:
            sent.append(await _send_batch(producer, name, partition, batch))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=timestamp_ms)
    sent.append(await _send_batch(producer, name, partition, batch))
    return sent


async def _send_batch(producer: Any, name: str, partition: int, batch: Any) -> asyncio.Future[Any]:
    batch.close()  # nothing more comes: goes out at once
    future: asyncio.Future[Any] = await producer.send_batch(batch, name, partition=partition)
    future.add_done_callback(_seen)
    return future


def _seen(future: asyncio.Future[Any]) -> None:
    """A batch may fail after its append was given up: it is known then."""
    if not future.cancelled():
        future.exception()


async def _end(producer: Any) -> None:
    """Stops sending first, so that nothing old arrives after what another producer appends."""
    sender = producer._sender.sender_task  # no public way: stop() would wait for Kafka's return
    if sender is not None:
        sender.cancel()
        await asyncio.wait([sender])
    accumulator = producer._message_accumulator
    for queue in accumulator._batches.values():
        accumulator._pending_batches.update(queue)  # where those that were tried are looked for
    for batch in accumulator._pending_batches:
        batch.future.add_done_callback(_seen)  # an append that was given up waits for neither
        batch._drain_waiter.add_done_callback(_seen)
    accumulator.fail_all(KafkaError("the producer was given up"))
    with suppress(KafkaError, asyncio.CancelledError):
        await producer.stop()


def missing_topic(names: Sequence[str], servers: str) -> str:
    """What to do about topics that are not there."""
    return (
        f"no topic {', '.join(sorted(names))} in Kafka at {servers}: create it with "
        "`foryou topics`, which creates all that are missing"
    )


def _too_large(name: str) -> str:
    return (
        f"{name} refuses an event that is within our limit: its max.message.bytes is below what "
        "`foryou topics` sets; alter the topic's configuration"
    )
