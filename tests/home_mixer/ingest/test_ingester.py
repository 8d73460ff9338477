"""The ingester against the embedded log and the embedded store: convergence, resume, poison."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from real_parts.random_events import Event, random_event, view

from home_mixer.clients.embedded import EmbeddedFeatureStore
from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.protocols import StoreFullError
from home_mixer.clients.writes import FeatureBatch
from home_mixer.ingest.decode import INGESTED_TOPICS, decode_event
from home_mixer.ingest.handler import FeatureIngester, PositionsError
from home_mixer.ingest.life import READY_AS
from home_mixer.ingester import IngesterProcess
from home_mixer.settings import IngesterSettings
from protos import events_pb2
from service_kit.clock import ManualClock, SystemClock
from service_kit.dead_letters import decode as decode_dead_letter
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import (
    TOPIC_GRAPH,
    TOPIC_POSTS,
    dead_letter_topic,
    event_key,
)
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.snowflake import first_id_at

MAP_BYTES = 64 << 20


def append(log: EmbeddedLogWriter, events: list[Event]) -> None:
    for topic, key, value in events:
        log.append_many_sync(topic, [(event_key(key), value, 1)])


class Rig:
    """One log and one store; `ingest` is what a restarted process does."""

    def __init__(self, directory: Path) -> None:
        self.log_dir = directory / "log"
        self.log = EmbeddedLogWriter(self.log_dir)
        self.store = EmbeddedFeatureStore(directory / "features", map_bytes=MAP_BYTES)
        self.metrics = Metrics("ingester")
        self.clock = ManualClock()
        self.ingester = FeatureIngester(self.store.writer, self.log, self.clock, self.metrics)

    async def ingest(self, records_max: int = 7, batches: int | None = None) -> int:
        """Reads from where the store left off, at most so many batches; records handled."""
        source = EmbeddedLogSource(self.log_dir, INGESTED_TOPICS)
        await self.ingester.resume(source)
        handled = 0
        while batches is None or batches > 0:
            records = await source.poll(records_max, 0.0)
            if not records:
                break
            await self.ingester.handle(records)
            handled += len(records)
            batches = None if batches is None else batches - 1
        return handled


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.store.close()
    await rig.log.close()


@pytest.mark.parametrize("seed", range(5))
async def test_any_order_with_duplicates_ends_as_the_oracle(rig: Rig, seed: int) -> None:
    random_ = random.Random(seed)
    events = [random_event(random_) for _ in range(200)]
    batch = FeatureBatch()
    for topic, _, value in events:
        decode_event(topic, value, batch)
    oracle = MemoryFeatureStore()
    oracle.apply(batch, {})
    shuffled = events + random_.sample(events, 80)
    random_.shuffle(shuffled)
    append(rig.log, shuffled)
    assert await rig.ingest() == 280
    assert await view(rig.store.clients()) == await view(oracle.clients())


async def test_a_restart_goes_on_where_the_store_left_off(rig: Rig) -> None:
    events = [random_event(random.Random(1)) for _ in range(60)]
    append(rig.log, events)
    assert await rig.ingest(records_max=10, batches=3) == 30  # then the process dies
    assert await rig.ingest(records_max=10) == 30  # not 60: nothing is read twice
    assert await rig.ingest() == 0


async def test_a_failed_transaction_is_read_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(rig.log, [random_event(random.Random(2)) for _ in range(10)])

    def full(*_: object) -> None:
        raise StoreFullError("the map is full")

    with monkeypatch.context() as broken:
        broken.setattr(rig.store.writer, "apply", full)
        with pytest.raises(StoreFullError):
            await rig.ingest()
    assert rig.store.writer.positions() == {}
    assert await rig.ingest() == 10


async def test_poison_is_put_aside_with_its_bytes_and_the_rest_is_stored(rig: Rig) -> None:
    good = random_event(random.Random(3))
    append(rig.log, [(good[0], 1, b"\xff\xff"), good])
    await rig.ingest()
    dead = EmbeddedLogSource(rig.log_dir, [dead_letter_topic(good[0])])
    (letter,) = await dead.poll(10, 10.0)
    header, value = decode_dead_letter(letter.value)
    assert value == b"\xff\xff"
    assert header["topic"] == good[0]
    assert "not an event" in str(header["reason"])
    assert rig.metrics.value("consumer_poison_total", topic=good[0]) == 1
    assert await rig.ingest() == 0


async def test_an_event_dated_far_ahead_is_put_aside_and_wins_over_nothing(rig: Rig) -> None:
    day_ms, now_ms = 86_400_000, rig.clock.now_ms()
    for removed, at_ms in ((False, now_ms - 5), (False, now_ms + 2 * day_ms), (True, now_ms)):
        edge = events_pb2.GraphEdge(
            kind=1, user_id=1, target_user_id=2, removed=removed, changed_at_ms=at_ms
        )
        value = events_pb2.GraphEvent(edge=edge).SerializeToString()
        append(rig.log, [(TOPIC_GRAPH, 1, value)])
    await rig.ingest()
    features = await rig.store.clients().graph.get_features(1)
    assert features.followed_user_ids.tolist() == []
    assert rig.metrics.value("consumer_poison_total", topic=TOPIC_GRAPH) == 1
    dead = EmbeddedLogSource(rig.log_dir, [dead_letter_topic(TOPIC_GRAPH)])
    (letter,) = await dead.poll(10, 10.0)
    assert "is the clock of the producer" in str(decode_dead_letter(letter.value)[0]["reason"])


async def test_a_store_of_another_log_is_told_apart(rig: Rig, tmp_path: Path) -> None:
    append(rig.log, [random_event(random.Random(4)) for _ in range(10)])
    await rig.ingest()
    source = EmbeddedLogSource(tmp_path / "another", INGESTED_TOPICS)
    with pytest.raises(PositionsError, match="it is another log"):
        await rig.ingester.resume(source)


async def test_old_posts_are_forgotten_after_their_retention(rig: Rig) -> None:
    hour_ms = 3_600_000
    now_ms = rig.clock.now_ms()
    old, young = first_id_at(now_ms - 3 * hour_ms), first_id_at(now_ms - hour_ms)
    for post_id in (old, old + 1, old + 2, young):
        create = events_pb2.PostCreate(post_id=post_id, author_id=1, created_at_ms=1)
        value = events_pb2.PostEvent(create=create).SerializeToString()
        append(rig.log, [(TOPIC_POSTS, 1, value)])
    await rig.ingest()
    assert await rig.ingester.trim(2 * hour_ms, rows_max=2) == 3
    ids = np.array([old, young], np.uint64)
    assert (await rig.store.clients().posts.get_posts(ids)).found.tolist() == [False, True]


async def test_the_process_is_ready_once_it_has_caught_up(tmp_path: Path) -> None:
    log = EmbeddedLogWriter(tmp_path / "log")
    append(log, [random_event(random.Random(5)) for _ in range(50)])
    settings = IngesterSettings(data_dir=tmp_path, feature_map_bytes=MAP_BYTES, batch_records=20)
    readiness, metrics, ready = Readiness(), Metrics("ingester"), asyncio.Event()
    loop = asyncio.get_running_loop()

    def listener(name: str, serving: bool) -> None:
        if name == READY_AS and serving:
            loop.call_soon_threadsafe(ready.set)

    readiness.listen(listener)
    process = IngesterProcess(settings, metrics, readiness, SystemClock())
    await process.start()
    await asyncio.wait_for(ready.wait(), 20)
    await process.stop()
    assert not readiness.serving(READY_AS)
    assert metrics.value("consumer_records_total", consumer="ingester") == 50
    store = EmbeddedFeatureStore(tmp_path / "features", map_bytes=MAP_BYTES)
    assert sum(store.writer.positions().values()) == 50
    store.close()
    await log.close()
