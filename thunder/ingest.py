"""Keeps the store current: events in, old posts out, sizes shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from service_kit.consumer import Consumer
from service_kit.dead_letters import Poison
from service_kit.event_log import Record, TopicPartition
from thunder.events import PostBatch, decode_batch
from thunder.log_identity import Mark, newest_marks
from thunder.metrics import ThunderMetrics
from thunder.shares import WHOLE, Share
from thunder.steady_clock import SteadyClock
from thunder.store import PostStore

logger = logging.getLogger(__name__)
SIZES_INTERVAL_S: Final = 5.0  # x-algorithm: its statistics logger


Decode = Callable[[Sequence[Record]], tuple[PostBatch, list[Poison]]]


class PostIngester:
    """Handler for a ``Consumer`` of ``foryou.posts``, or of the compact topic where ``decode`` is
    its own; idempotent."""

    def __init__(
        self,
        store: PostStore,
        metrics: ThunderMetrics,
        decode: Decode = decode_batch,
        share: Share = WHOLE,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._decode = decode
        self._share = share
        self._marks: dict[TopicPartition, Mark] = {}

    @property
    def marks(self) -> dict[TopicPartition, Mark]:
        """By partition the newest record taken: what tells this log from another."""
        return dict(self._marks)

    async def __call__(self, records: Sequence[Record]) -> list[Poison]:
        return await asyncio.to_thread(self.take, records)

    def take(self, records: Sequence[Record]) -> list[Poison]:
        """Applies one batch; returns what could not be understood."""
        batch, poisons = self._decode(records)
        created, statuses = batch.posts(), batch.statuses()
        if created.size:
            posts, flags = self._share.place(created, batch.flags())
            self._count("create", self._store.insert(posts, flags))
            others = created.size - posts.size
            self._metrics.events.labels("create", "other_share").inc(others)
        if statuses[0].size:
            dead = statuses[2]
            self._count("status", self._store.apply_statuses(statuses))
            self._metrics.events.labels("delete", "seen").inc(int(dead.sum()))
            self._metrics.events.labels("undelete", "seen").inc(int(dead.size - dead.sum()))
        for kind, count in batch.passed_over.items():
            self._metrics.events.labels(kind, "passed_over").inc(count)
        if poisons:
            self._metrics.events.labels("unknown", "poison").inc(len(poisons))
        self._marks.update(newest_marks(records))
        return poisons

    def _count(self, kind: str, outcomes: dict[str, int]) -> None:
        for outcome, count in outcomes.items():
            self._metrics.events.labels(kind, outcome).inc(count)


async def run_and_tell(consumer: Consumer, caught_up: asyncio.Event) -> None:
    """Runs one life of a consumer; sets ``caught_up``, which outlives it, when it has."""

    async def tell() -> None:
        await consumer.caught_up.wait()
        caught_up.set()

    telling = asyncio.create_task(tell())
    try:
        await consumer.run()
    finally:
        telling.cancel()


async def trim_for_ever(store: PostStore, metrics: ThunderMetrics, interval_s: float) -> None:
    """Trims at each interval; a failure is logged and the next interval tries again."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            metrics.trimmed.inc(await asyncio.to_thread(store.trim))
        except Exception:
            logger.exception("trim failed")


async def show_sizes_for_ever(
    store: PostStore, metrics: ThunderMetrics, clock: SteadyClock
) -> None:
    """Refreshes the gauges of the store, its snapshots and its clock."""
    while True:
        metrics.show_sizes(await asyncio.to_thread(store.sizes), store.evicted_posts)
        metrics.snapshots.show_age(clock.now_ms())
        metrics.clock_held.set(clock.held_seconds())
        await asyncio.sleep(SIZES_INTERVAL_S)
