"""Follows topics of Kafka, from positions that are its own.

Two ways to get partitions. *Assigned*: all of the topics', or one share of them, for a consumer
that keeps its own positions or wants everything. *Subscribed* (a group, ``start="committed"`` and
no share): the group deals the partitions out, so that a member that dies is replaced within
seconds. Either way this class alone decides where each partition starts, and moves a position
only when it returns the records; the client library's own positions follow. While a full batch is
handled, the next one is taken out of what the client has fetched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from service_kit.event_log import (
    LogUnavailableError,
    Record,
    Start,
    TopicError,
    TopicPartition,
    check_share,
)
from service_kit.kafka.bare_records import leave_records_bare
from service_kit.kafka.link import (
    CLOSE_S_MAX,
    METADATA_AGE_MS,
    REQUEST_MS,
    Link,
    LogMetrics,
    quiet_client_logs,
)
from service_kit.kafka.sink import missing_topic
from service_kit.record_batch import RecordBatch, Run

logger = logging.getLogger(__name__)
LOOK_S = 5.0  # how often partitions are looked for once every topic is there
LOOK_S_MISSING = 0.2  # and while one is not
ANSWER_S_MAX = 10.0  # connecting, looking, committing, each
OFFSETS_S_MAX = 3.0  # asked every second: one partition without a leader must not hold up the rest
SILENT_S_MAX = 30.0  # polls that return nothing although events wait: the connection is replaced
GROUP_S_MAX = 30.0  # for a group to deal out: a dead member's session and everybody's joining
GROUP_WAIT_S = 0.02
SESSION_MS = 10_000  # a member of the group that died is replaced after this
FETCH_BYTES_MAX = 2 << 20  # a partition and fetch: twice the largest record, with its batch


class KafkaSource:
    """An `EventSource`; see there for what each method promises."""

    def __init__(
        self,
        servers: str,
        topics: Sequence[str],
        *,
        metrics: LogMetrics,
        prefix: str = "",
        group: str | None = None,
        start: Start = "earliest",
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Connects when first used; `open` tries at once."""
        if start == "committed" and group is None:
            raise ValueError('start="committed" needs a group: pass group="name"')
        quiet_client_logs()
        self._servers, self._prefix = servers, prefix
        self._names = {prefix + topic: topic for topic in topics}
        self._group, self._start, self._share = group, start, share
        self._subscribes = group is not None and start == "committed" and share == (0, 1)
        self._metrics = metrics
        self._link = Link(servers, ", ".join(topics), metrics)
        self._client: Any | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._sought: dict[TopicPartition, int] = {}  # for partitions that are not placed yet
        self._present_placed = False  # what exists later is new and read from its start
        self._look_s = float("-inf")
        self._missing: list[str] = sorted(self._names)
        self._silent_s = 0.0
        self._ahead: _Ahead | None = None

    async def open(self) -> None:
        """Fixes where the partitions that exist now begin; an outage is told, not raised."""
        try:
            await self._ready()
        except (OSError, TopicError) as error:
            logger.info("followed once it is there", extra={"reason": str(error)})

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        return list(await self.poll_batch(max_records, timeout_s))

    async def poll_batch(self, max_records: int, timeout_s: float) -> RecordBatch:
        if max_records < 1:
            raise ValueError(f"max_records {max_records}: expected at least 1")
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + timeout_s
        while True:
            client = await self._ready()
            left_s = min(max(0.0, deadline_s - now_s()), LOOK_S)
            if self._missing or self._subscribes:  # what comes next may be ours to place
                left_s = min(left_s, LOOK_S_MISSING)
            records = await self._fetch(client, max_records, left_s)
            if records or now_s() >= deadline_s:
                self._silent_s = 0.0 if records else self._silent_s + timeout_s
                return records

    def positions(self) -> dict[TopicPartition, int]:
        return {**self._sought, **self._positions}

    async def end_offsets(self) -> dict[TopicPartition, int]:
        client = await self._ready()
        self._check_missing()
        if self._subscribes:
            await self._wait_for_group(client)
        with self._link.watched():
            async with asyncio.timeout(OFFSETS_S_MAX):
                ends = await client.end_offsets([self._kafka(at) for at in self._positions])
        found = {self._ours(at): int(end) for at, end in ends.items()}
        await self._replace_if_silent(found)
        return found

    def _check_missing(self) -> None:
        """A topic that was there is not gone: a broker that starts may not know it yet."""
        known = {topic for topic, _ in self._positions}
        if vanished := [name for name in self._missing if self._names[name] in known]:
            raise LogUnavailableError(f"Kafka at {self._servers} knows no topic {vanished} now")
        if self._missing:
            raise TopicError(missing_topic(self._missing, self._servers))

    async def start_offsets(self) -> dict[TopicPartition, int]:
        client = await self._ready()
        with self._link.watched():
            async with asyncio.timeout(ANSWER_S_MAX):
                return await self._oldest(client, self._positions)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        if topic not in self._names.values():
            followed = list(self._names.values())
            raise ValueError(f"topic {topic!r} is not followed here; followed: {followed}")
        if offset < 0:
            raise ValueError(f"offset {offset}: expected 0 or more")
        at = (topic, partition)
        if at not in self._positions:
            if not self._subscribes:
                self._sought[at] = offset
            return
        self._positions[at] = offset
        self._align([at])

    async def commit(self) -> None:
        if self._group is None:
            raise RuntimeError("this source has no group to commit for: pass group= to it")
        if self._client is None or not self._positions:
            return
        offsets = {self._kafka(at): offset for at, offset in self._positions.items()}
        with self._link.watched():
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    await self._client.commit(offsets)
            except (CommitFailedError, IllegalStateError) as error:
                self._metrics.lost_commits.inc()
                logger.warning(
                    "partitions moved to another member, which reads again what was not committed",
                    extra={"group": self._group, "reason": str(error)},
                )

    async def close(self) -> None:
        client, self._client = self._client, None
        if self._ahead is not None:
            self._ahead.drop()
            self._ahead = None
        if client is not None:
            await self._end(client)

    # Connecting and placing ------------------------------------------------------------------

    async def _ready(self) -> Any:
        """The client, with every partition that is known to be ours placed."""
        with self._link.watched():
            async with asyncio.timeout(ANSWER_S_MAX):
                if self._client is None:
                    self._client = await self._connected()
                    self._look_s = float("-inf")
                await self._look(self._client)
                return self._client

    async def _connected(self) -> Any:
        client = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            client_id="foryou",
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",  # we place partitions ourselves, and say so
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            request_timeout_ms=REQUEST_MS,
            metadata_max_age_ms=METADATA_AGE_MS,
            session_timeout_ms=SESSION_MS,
        )
        try:
            await client.start()
        except BaseException:
            await self._end(client)
            raise
        leave_records_bare(client)
        return client

    async def _look(self, client: Any) -> None:
        """Finds partitions, now and then, and places those that are ours and are not placed."""
        now_s = asyncio.get_running_loop().time()
        due = now_s - self._look_s >= (LOOK_S_MISSING if self._missing else LOOK_S)
        if due:
            ours = await self._existing(client)
            if not self._subscribes:
                await self._place(client, ours)
            self._look_s = now_s  # a look that failed is due again at once
        if self._subscribes and not self._missing:
            await self._follow_group(client)

    async def _existing(self, client: Any) -> list[TopicPartition]:
        """Partitions of our share that exist now; TopicError where they cannot be dealt out."""
        cluster = await client._client.fetch_all_metadata()  # a look that changes nothing
        found = {name: cluster.partitions_for_topic(name) for name in self._names}
        self._missing = sorted(name for name, numbers in found.items() if not numbers)
        part, parts = self._share
        ours: list[TopicPartition] = []
        for name, numbers in found.items():
            check_share(self._share, name, len(numbers or ()))
            ours += [(self._names[name], n) for n in sorted(numbers or ()) if n % parts == part]
        return ours

    async def _place(self, client: Any, ours: Iterable[TopicPartition]) -> None:
        new = [at for at in ours if self._kafka(at) not in client.assignment()]
        if not new:
            self._present_placed = True
            return
        starts = await self._starts(client, [at for at in new if at not in self._positions])
        self._positions.update(starts)
        for at in new:
            self._sought.pop(at, None)
        self._present_placed = True
        client.assign([self._kafka(at) for at in self._positions])
        self._align(self._positions)

    async def _follow_group(self, client: Any) -> None:
        """Subscribes once the topics exist; places what the group has given us since."""
        if not client.subscription():
            client.subscribe(list(self._names), listener=_Rebalances(self._positions))
        if _rebalancing(client):
            return
        new = [self._ours(at) for at in client.assignment()]
        new = [at for at in new if at not in self._positions]
        if new:
            self._positions.update(await self._starts(client, new))
            self._align(new)

    async def _wait_for_group(self, client: Any) -> None:
        """Returns once the group has said which partitions are ours (perhaps none)."""
        end_s = asyncio.get_running_loop().time() + GROUP_S_MAX
        while _rebalancing(client):
            if asyncio.get_running_loop().time() > end_s:
                raise LogUnavailableError(f"the group {self._group} has not dealt out partitions")
            await asyncio.sleep(GROUP_WAIT_S)
        await self._ready()

    async def _starts(
        self, client: Any, new: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Where each new partition begins."""
        starts = {at: self._sought[at] for at in new if at in self._sought}
        rest = [at for at in new if at not in starts]
        if rest and self._start == "committed":
            starts |= await self._committed(client, rest)
            rest = [at for at in rest if at not in starts]
        if rest and self._start == "latest" and not self._present_placed:
            ends = await client.end_offsets([self._kafka(at) for at in rest])
            return starts | {self._ours(at): int(end) for at, end in ends.items()}
        return starts | await self._oldest(client, rest)

    async def _committed(
        self, client: Any, new: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        offsets = await asyncio.gather(*(client.committed(self._kafka(at)) for at in new))
        pairs = zip(new, offsets, strict=True)
        return {at: int(offset) for at, offset in pairs if offset is not None}

    async def _oldest(self, client: Any, of: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        wanted = [self._kafka(at) for at in of]
        if not wanted:
            return {}
        oldest = await client.beginning_offsets(wanted)
        return {self._ours(at): int(offset) for at, offset in oldest.items()}

    # Fetching --------------------------------------------------------------------------------

    async def _fetch(self, client: Any, max_records: int, wait_s: float) -> RecordBatch:
        if not self._positions or (self._subscribes and _rebalancing(client)):
            await asyncio.sleep(wait_s)
            return RecordBatch()
        with self._link.watched():
            try:
                async with asyncio.timeout(wait_s + ANSWER_S_MAX):
                    batches = await self._next(client, max_records, wait_s)
            except OffsetOutOfRangeError as error:
                await self._reset(client, error.args[0])
                return RecordBatch()
            except NoOffsetForPartitionError:
                return RecordBatch()  # given to us a moment ago; placed before the next fetch
            except (KafkaError, OSError):
                self._align(self._positions)  # what the client had taken out is read again
                raise
        batch = self._taken(client, batches)
        if len(batch) == max_records and not self._subscribes:
            self._ahead = _Ahead.of(client, max_records)
        return batch

    async def _next(self, client: Any, max_records: int, wait_s: float) -> Mapping[Any, Any]:
        """By partition of Kafka what comes next, perhaps taken out already."""
        if self._ahead is not None:
            if self._ahead.max_records > max_records:
                self._align(self._positions)
            else:
                batches = await self._taken_ahead(self._ahead)
                if batches:
                    return batches
        found: Mapping[Any, Any] = await client.getmany(
            timeout_ms=int(wait_s * 1000), max_records=max_records
        )
        return found

    async def _taken_ahead(self, ahead: _Ahead) -> Mapping[Any, Any]:
        """Its records, or the failure that it met; kept for the next poll if we are cancelled."""
        try:
            return await asyncio.shield(ahead.batches)
        finally:
            if ahead.batches.done():
                self._ahead = None

    def _taken(self, client: Any, batches: Mapping[Any, Sequence[Any]]) -> RecordBatch:
        """The events out of what the client returned; positions move here and nowhere else."""
        runs: list[Run] = []
        for kafka_at, batch in batches.items():
            topic, partition = at = self._ours(kafka_at)
            if at not in self._positions:
                continue  # revoked meanwhile: another member reads it
            runs.append(Run(topic, partition, batch))
            self._positions[at] = batch[-1].offset + 1
        self._pass_gaps(client)
        return RecordBatch(runs)

    def _pass_gaps(self, client: Any) -> None:
        """Offsets without a record (transaction markers, compacted ones) are behind us, too."""
        subscription = client._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return
        for at, offset in self._positions.items():
            if self._kafka(at) in assignment.tps:
                state = assignment.state_value(self._kafka(at))
                if state.has_valid_position and state.position > offset:
                    self._positions[at] = state.position

    async def _reset(self, client: Any, wanted: Mapping[Any, int]) -> None:
        """Offsets that do not exist: reads from the oldest that does, and says what is gone."""
        ours = [self._ours(at) for at in wanted]
        oldest = await self._oldest(client, ours)
        for at, offset in oldest.items():
            before = self._positions.get(at)
            if before is None:
                continue
            skipped = max(0, offset - before)
            self._metrics.resets.labels(at[0]).inc()
            self._metrics.skipped.labels(at[0]).inc(skipped)
            logger.error(
                "events were removed before they were read: the topic's retention is too short"
                if skipped
                else "the topic is shorter than what was read of it: made anew? It is read again",
                extra={"topic": at[0], "partition": at[1], "wanted": before, "oldest": offset},
            )
            self._positions[at] = offset
        self._align(oldest)

    def _align(self, places: Iterable[TopicPartition]) -> None:
        """Tells the client where we are; what it had fetched beyond is thrown away."""
        if self._ahead is not None:
            self._ahead.drop()
            self._ahead, places = None, self._positions  # what was in it may be of any partition
        if self._client is None:
            return
        assigned = self._client.assignment()
        for at in places:
            if at in self._positions and self._kafka(at) in assigned:
                self._client.seek(self._kafka(at), self._positions[at])

    async def _replace_if_silent(self, ends: Mapping[TopicPartition, int]) -> None:
        """A client whose fetching died says nothing and returns nothing: replaced."""
        waiting = any(end > self._positions.get(at, end) for at, end in ends.items())
        if not waiting:
            self._silent_s = 0.0  # a quiet topic: its next event must not look late
        if self._silent_s < SILENT_S_MAX:
            return
        self._metrics.reconnects.inc()
        logger.error("events wait and none come: connecting anew", extra={"topics": self._names})
        self._silent_s = 0.0
        if self._subscribes:
            self._positions.clear()
        await self.close()

    async def _end(self, client: Any) -> None:
        """Leaves the group and closes; what does not answer is cut off."""
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await client.stop()
        except (KafkaError, OSError) as error:
            logger.warning("a connection to Kafka did not close", extra={"reason": repr(error)})
            await client._client.close()

    def _kafka(self, at: TopicPartition) -> Any:
        return KafkaPartition(self._prefix + at[0], at[1])

    def _ours(self, at: Any) -> TopicPartition:
        return self._names[at.topic], at.partition


class _Ahead:
    """The next batch, taken out of what the client has fetched while the one before is handled."""

    def __init__(self, batches: asyncio.Task[Mapping[Any, Any]], max_records: int) -> None:
        self.batches = batches
        self.max_records = max_records

    @staticmethod
    def of(client: Any, max_records: int) -> _Ahead:
        taking = client.getmany(timeout_ms=0, max_records=max_records)
        return _Ahead(asyncio.create_task(taking), max_records)

    def drop(self) -> None:
        """Its records are to be fetched again; so is the failure that it may have met."""
        self.batches.cancel()
        self.batches.add_done_callback(lambda task: task.cancelled() or task.exception())


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Forgets positions of partitions that the group takes away, all of them at each rebalance:
    their next owner, perhaps we, starts at what is committed."""

    def __init__(self, positions: dict[TopicPartition, int]) -> None:
        self._positions = positions

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._positions.clear()

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Placed before the next fetch."""


def _rebalancing(client: Any) -> bool:
    waiting: bool = client._subscription.reassignment_in_progress
    return waiting
