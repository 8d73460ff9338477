"""The consumer's handler: decode a batch, put poison aside, store the rest with its positions.

Exactly-once effect: log positions are stored with the rows behind them, or after them, and a
restart resumes from those; what is stored twice has no second effect. Poison is put aside first:
a crash between the two repeats a dead letter and never loses one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from home_mixer.clients.writes import FeatureBatch, FeatureWriter
from home_mixer.ingest.decode import (
    FUTURE_MS_MAX,
    INGESTED_TOPICS,
    TIME_MS_MAX,
    decode_event,
)
from service_kit.clock import Clock
from service_kit.consumer import ConsumerMetrics
from service_kit.dead_letters import DeadLetters, Poison
from service_kit.event_log import EventSink, EventSource, Record, TopicPartition
from service_kit.metrics import Metrics
from service_kit.snowflake import first_id_at


class PositionsError(RuntimeError):
    """The store is ahead of the log: they do not belong together."""


class FeatureIngester:
    """Fills a feature store from records; `handle` is what a `Consumer` calls."""

    def __init__(
        self, writer: FeatureWriter, dead_letters: EventSink, clock: Clock, metrics: Metrics
    ) -> None:
        self._writer = writer
        self._dead = DeadLetters(dead_letters)
        self._clock = clock
        self._poison = ConsumerMetrics.of(metrics).poison
        self._rows = metrics.counter("ingested_rows_total", "Rows stored, by kind", ["kind"])
        self._trimmed = metrics.counter("trimmed_posts_total", "Posts past their retention")

    async def resume(self, source: EventSource, share: tuple[int, int] = (0, 1)) -> None:
        """Place the source where the store left off; `PositionsError` when the log is shorter.

        ``share`` (i, n): what the source follows; positions of others are not its own.
        """
        positions = await asyncio.to_thread(self._writer.positions)
        ends = await source.end_offsets()
        for (topic, partition), offset in positions.items():
            if topic not in INGESTED_TOPICS or partition % share[1] != share[0]:
                continue
            if offset > ends.get((topic, partition), 0):
                raise PositionsError(
                    f"the feature store has read {topic}/{partition} up to {offset} but the log "
                    f"ends at {ends.get((topic, partition), 0)}: it is another log; point "
                    "INGESTER__DATA_DIR or KAFKA_BOOTSTRAP_SERVERS at the store's own, or give "
                    "the log an empty store: delete the features directory, or set another "
                    "REDIS_KEY_PREFIX"
                )
            source.seek(topic, partition, offset)

    async def handle(self, records: Sequence[Record]) -> Sequence[Poison]:
        """Store the batch. Poison is put aside here, so nothing is returned to put aside."""
        batch, poisons = await asyncio.to_thread(
            decode_records, records, self._clock.now_ms() + FUTURE_MS_MAX
        )
        await self._dead.put_aside(poisons, self._clock.now_ms())
        for poison in poisons:
            self._poison.labels(poison.record.topic).inc()
        await asyncio.to_thread(self._writer.apply, batch, next_positions(records))
        for kind in FeatureBatch.__slots__:
            self._rows.labels(kind).inc(len(getattr(batch, kind)))
        return ()

    async def trim(self, retention_ms: int, rows_max: int) -> int:
        """Forget posts older than the retention, a bounded number a transaction."""
        oldest_id = first_id_at(self._clock.now_ms() - retention_ms)
        total = 0
        while True:
            gone = await asyncio.to_thread(self._writer.trim, oldest_id, rows_max)
            self._trimmed.inc(gone)
            total += gone
            if gone < rows_max:
                return total


def decode_records(
    records: Sequence[Record], latest_ms: int = TIME_MS_MAX
) -> tuple[FeatureBatch, list[Poison]]:
    """Rows of the good records, and the others with their reasons."""
    batch = FeatureBatch()
    poisons: list[Poison] = []
    for record in records:
        try:
            decode_event(record.topic, record.value, batch, latest_ms)
        except ValueError as error:
            poisons.append(Poison(record, str(error)))
    return batch, poisons


def next_positions(records: Sequence[Record]) -> Mapping[TopicPartition, int]:
    """Offset after the last record of each partition."""
    return {(record.topic, record.partition): record.offset + 1 for record in records}
