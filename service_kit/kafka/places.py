"""Which partitions of Kafka a reader follows, where each begins, and how far it has read.

A partition is named in two ways: by us, (topic, number), and by Kafka, whose topics may carry a
prefix. Everything outside speaks ours; `kafka` and `ours` translate. The client passed in is
aiokafka's consumer, of which only questions are asked here: nothing is assigned or sought.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition as KafkaPartition

from service_kit.event_log import (
    LogUnavailableError,
    Start,
    TopicError,
    TopicPartition,
    check_share,
)
from service_kit.kafka.sink import missing_topic


class Places:
    """One reader's partitions; `positions` holds the next offset of each that is placed."""

    def __init__(
        self, servers: str, topics: Sequence[str], prefix: str, start: Start, share: tuple[int, int]
    ) -> None:
        self._servers, self._prefix = servers, prefix
        self._start, self._share = start, share
        self.names = {prefix + topic: topic for topic in topics}  # by Kafka's name
        self.positions: dict[TopicPartition, int] = {}
        self.missing: list[str] = sorted(self.names)  # topics that no look has found yet
        self._sought: dict[TopicPartition, int] = {}  # for partitions that are not placed yet
        self._present_placed = False  # what exists later is new and read from its start

    def kafka(self, at: TopicPartition) -> Any:
        return KafkaPartition(self._prefix + at[0], at[1])

    def ours(self, at: Any) -> TopicPartition:
        return self.names[at.topic], at.partition

    def all_kafka(self) -> list[Any]:
        return [self.kafka(at) for at in self.positions]

    def reached(self) -> dict[TopicPartition, int]:
        """The next offset of each partition, also of those that are sought and not placed yet."""
        return {**self._sought, **self.positions}

    def check_offset(self, topic: str, offset: int) -> None:
        if topic not in self.names.values():
            followed = list(self.names.values())
            raise ValueError(f"topic {topic!r} is not followed here; followed: {followed}")
        if offset < 0:
            raise ValueError(f"offset {offset}: expected 0 or more")

    def seek_later(self, at: TopicPartition, offset: int) -> None:
        """Where this partition shall begin once it is placed."""
        self._sought[at] = offset

    def check_missing(self) -> None:
        """A topic that was there is not gone: a broker that starts may not know it yet."""
        known = {topic for topic, _ in self.positions}
        if vanished := [name for name in self.missing if self.names[name] in known]:
            raise LogUnavailableError(f"Kafka at {self._servers} knows no topic {vanished} now")
        if self.missing:
            raise TopicError(missing_topic(self.missing, self._servers))

    async def look(self, client: Any) -> list[TopicPartition]:
        """Partitions of our share that exist now; TopicError where they cannot be dealt out."""
        cluster = await client._client.fetch_all_metadata()  # a look that changes nothing
        found = {name: cluster.partitions_for_topic(name) for name in self.names}
        self.missing = sorted(name for name, numbers in found.items() if not numbers)
        part, parts = self._share
        mine: list[TopicPartition] = []
        for name, numbers in found.items():
            check_share(self._share, name, len(numbers or ()))
            mine += [(self.names[name], n) for n in sorted(numbers or ()) if n % parts == part]
        return mine

    async def place(self, client: Any, new: Iterable[TopicPartition]) -> None:
        """Gives each of `new` that has no position yet the one at which it begins."""
        new = list(new)
        unplaced = [at for at in new if at not in self.positions]
        if unplaced:
            self.positions.update(await self._starts(client, unplaced))
        for at in new:
            self._sought.pop(at, None)

    def all_present_are_placed(self) -> None:
        """From now on a partition that appears is new, and read from its oldest event."""
        self._present_placed = True

    async def oldest(self, client: Any, of: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that is still there, of each."""
        wanted = [self.kafka(at) for at in of]
        return self._offsets(await client.beginning_offsets(wanted)) if wanted else {}

    async def ends(self, client: Any, of: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset that the next event will have, of each."""
        return self._offsets(await client.end_offsets([self.kafka(at) for at in of]))

    def _offsets(self, found: Mapping[Any, Any]) -> dict[TopicPartition, int]:
        return {self.ours(at): int(offset) for at, offset in found.items()}

    async def _starts(
        self, client: Any, new: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        starts = {at: self._sought[at] for at in new if at in self._sought}
        rest = [at for at in new if at not in starts]
        if rest and self._start == "committed":
            starts |= await self._committed(client, rest)
            rest = [at for at in rest if at not in starts]
        if rest and self._start == "latest" and not self._present_placed:
            return starts | await self.ends(client, rest)
        return starts | await self.oldest(client, rest)

    async def _committed(
        self, client: Any, new: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        offsets = await asyncio.gather(*(client.committed(self.kafka(at)) for at in new))
        pairs = zip(new, offsets, strict=True)
        return {at: int(offset) for at, offset in pairs if offset is not None}
