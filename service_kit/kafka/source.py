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
)
from service_kit.kafka.consumer import ForgettingListener, connected, end, rebalancing
from service_kit.kafka.link import Link, LogMetrics, quiet_client_logs
from service_kit.kafka.places import Places
from service_kit.record_batch import RecordBatch, Run

logger = logging.getLogger(__name__)
LOOK_S = 5.0  # how often partitions are looked for once every topic is there
LOOK_S_MISSING = 0.2  # and while one is not
ANSWER_S_MAX = 10.0  # connecting, looking, committing, each
OFFSETS_S_MAX = 3.0  # asked every second: one partition without a leader must not hold up the rest
SILENT_S_MAX = 30.0  # polls that return nothing although events wait: the connection is replaced
GROUP_S_MAX = 30.0  # for a group to deal out: a dead member's session and everybody's joining
GROUP_WAIT_S = 0.02


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
        self._servers, self._group = servers, group
        self._subscribes = group is not None and start == "committed" and share == (0, 1)
        self._metrics = metrics
        self._link = Link(servers, ", ".join(topics), metrics)
        self._client: Any | None = None
        self._places = Places(servers, topics, prefix, start, share)
        self._look_s = float("-inf")
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
            if self._places.missing or self._subscribes:  # what comes next may be ours to place
                left_s = min(left_s, LOOK_S_MISSING)
            records = await self._fetch(client, max_records, left_s)
            if records or now_s() >= deadline_s:
                self._silent_s = 0.0 if records else self._silent_s + timeout_s
                return records

    def positions(self) -> dict[TopicPartition, int]:
        return self._places.reached()

    async def end_offsets(self) -> dict[TopicPartition, int]:
        client = await self._ready()
        self._places.check_missing()
        if self._subscribes:
            await self._wait_for_group(client)
        with self._link.watched():
            async with asyncio.timeout(OFFSETS_S_MAX):
                ends = await self._places.ends(client, self._places.positions)
        await self._replace_if_silent(ends)
        return ends

    async def start_offsets(self) -> dict[TopicPartition, int]:
        client = await self._ready()
        with self._link.watched():
            async with asyncio.timeout(ANSWER_S_MAX):
                return await self._places.oldest(client, self._places.positions)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self._places.check_offset(topic, offset)
        at = (topic, partition)
        if at in self._places.positions:
            self._places.positions[at] = offset
            self._align([at])
        elif not self._subscribes:
            self._places.seek_later(at, offset)

    async def commit(self) -> None:
        if self._group is None:
            raise RuntimeError("this source has no group to commit for: pass group= to it")
        places = self._places
        if self._client is None or not places.positions:
            return
        offsets = {places.kafka(at): offset for at, offset in places.positions.items()}
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
            await end(client)

    # Connecting and placing ------------------------------------------------------------------

    async def _ready(self) -> Any:
        """The client, with every partition that is known to be ours placed."""
        with self._link.watched():
            async with asyncio.timeout(ANSWER_S_MAX):
                if self._client is None:
                    self._client = await connected(self._servers, self._group)
                    self._look_s = float("-inf")
                await self._look(self._client)
                return self._client

    async def _look(self, client: Any) -> None:
        """Finds partitions, now and then, and places those that are ours and are not placed."""
        now_s = asyncio.get_running_loop().time()
        due = now_s - self._look_s >= (LOOK_S_MISSING if self._places.missing else LOOK_S)
        if due:
            ours = await self._places.look(client)
            if not self._subscribes:
                await self._assign(client, ours)
            self._look_s = now_s  # a look that failed is due again at once
        if self._subscribes and not self._places.missing:
            await self._follow_group(client)

    async def _assign(self, client: Any, ours: Iterable[TopicPartition]) -> None:
        places = self._places
        new = [at for at in ours if places.kafka(at) not in client.assignment()]
        await places.place(client, new)
        places.all_present_are_placed()
        if new:
            client.assign(places.all_kafka())
            self._align(places.positions)

    async def _follow_group(self, client: Any) -> None:
        """Subscribes once the topics exist; places what the group has given us since."""
        if not client.subscription():
            listener = ForgettingListener(self._places.positions)
            client.subscribe(list(self._places.names), listener=listener)
        if rebalancing(client):
            return
        given = [self._places.ours(at) for at in client.assignment()]
        if new := [at for at in given if at not in self._places.positions]:
            await self._places.place(client, new)
            self._align(new)

    async def _wait_for_group(self, client: Any) -> None:
        """Returns once the group has said which partitions are ours (perhaps none)."""
        end_s = asyncio.get_running_loop().time() + GROUP_S_MAX
        while rebalancing(client):
            if asyncio.get_running_loop().time() > end_s:
                raise LogUnavailableError(f"the group {self._group} has not dealt out partitions")
            await asyncio.sleep(GROUP_WAIT_S)
        await self._ready()

    # Fetching --------------------------------------------------------------------------------

    async def _fetch(self, client: Any, max_records: int, wait_s: float) -> RecordBatch:
        if not self._places.positions or (self._subscribes and rebalancing(client)):
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
                self._align(self._places.positions)  # what the client had taken out is read again
                raise
        batch = self._taken(client, batches)
        if len(batch) == max_records and not self._subscribes:
            self._ahead = _Ahead.of(client, max_records)
        return batch

    async def _next(self, client: Any, max_records: int, wait_s: float) -> Mapping[Any, Any]:
        """By partition of Kafka what comes next, perhaps taken out already."""
        if self._ahead is not None:
            if self._ahead.max_records > max_records:
                self._align(self._places.positions)
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
            topic, partition = at = self._places.ours(kafka_at)
            if at not in self._places.positions:
                continue  # revoked meanwhile: another member reads it
            runs.append(Run(topic, partition, batch))
            self._places.positions[at] = batch[-1].offset + 1
        self._pass_gaps(client)
        return RecordBatch(runs)

    def _pass_gaps(self, client: Any) -> None:
        """Offsets without a record (transaction markers, compacted ones) are behind us, too."""
        subscription = client._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return
        for at, offset in self._places.positions.items():
            if self._places.kafka(at) in assignment.tps:
                state = assignment.state_value(self._places.kafka(at))
                if state.has_valid_position and state.position > offset:
                    self._places.positions[at] = state.position

    async def _reset(self, client: Any, wanted: Mapping[Any, int]) -> None:
        """Offsets that do not exist: reads from the oldest that does, and says what is gone."""
        positions = self._places.positions
        oldest = await self._places.oldest(client, [self._places.ours(at) for at in wanted])
        for at, offset in oldest.items():
            before = positions.get(at)
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
            positions[at] = offset
        self._align(oldest)

    def _align(self, places: Iterable[TopicPartition]) -> None:
        """Tells the client where we are; what it had fetched beyond is thrown away."""
        positions = self._places.positions
        if self._ahead is not None:
            self._ahead.drop()
            self._ahead, places = None, positions  # what was in it may be of any partition
        if self._client is None:
            return
        assigned = self._client.assignment()
        for at in places:
            kafka_at = self._places.kafka(at)
            if at in positions and kafka_at in assigned:
                self._client.seek(kafka_at, positions[at])

    async def _replace_if_silent(self, ends: Mapping[TopicPartition, int]) -> None:
        """A client whose fetching died says nothing and returns nothing: replaced."""
        waiting = any(end > self._places.positions.get(at, end) for at, end in ends.items())
        if not waiting:
            self._silent_s = 0.0  # a quiet topic: its next event must not look late
        if self._silent_s < SILENT_S_MAX:
            return
        self._metrics.reconnects.inc()
        logger.error(
            "events wait and none come: connecting anew", extra={"topics": self._places.names}
        )
        self._silent_s = 0.0
        if self._subscribes:
            self._places.positions.clear()
        await self.close()


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
