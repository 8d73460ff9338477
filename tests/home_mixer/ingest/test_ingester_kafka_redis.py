"""The ingester's process between a real Kafka and a real Redis, killed again and again."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import defaultdict
from pathlib import Path

from real_parts.processes import Processes
from real_parts.random_events import Event, random_event, view
from real_parts.redis import RedisServer

from foryou.children import Children
from home_mixer.clients.embedded import EmbeddedFeatureStore
from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.opening import open_feature_clients
from home_mixer.clients.protocols import FeatureClients, StoreError
from home_mixer.clients.redis.keys import KeySchema
from home_mixer.clients.writes import FeatureBatch
from home_mixer.ingest.decode import decode_event
from home_mixer.ingest.life import READY_AS
from home_mixer.settings import HomeMixerSettings
from service_kit.event_log import Entry, event_key
from service_kit.event_logs import open_sink
from service_kit.topics import ensure_topics

IDS = range(1, 61)
EVENTS, KILLS, PARTITIONS = 6_000, 3, 3
DEADLINE_S = 120.0  # bounds failure alone: the machine may be busy


def stored(redis: RedisServer, prefix: str) -> int:
    """Events behind the stored positions."""
    words = redis.command("HGETALL", KeySchema(prefix).state).split()
    fields = dict(zip(words[::2], words[1::2], strict=True))
    return sum(int(value) for name, value in fields.items() if name.startswith("at:"))


async def until_stored(redis: RedisServer, prefix: str, events: int) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while await asyncio.to_thread(stored, redis, prefix) < events:
        assert time.monotonic() < end_s, f"{events} events were not stored in time"
        await asyncio.sleep(0.05)


async def seen(clients: FeatureClients) -> list[object]:
    """What readers see, once they are let in."""
    end_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return await view(clients, IDS)
        except StoreError:
            if time.monotonic() > end_s:
                raise
            await asyncio.sleep(0.1)


async def append(settings: HomeMixerSettings, events: list[Event]) -> None:
    sink = await open_sink(settings)
    for start in range(0, len(events), 100):
        by_topic: dict[str, list[Entry]] = defaultdict(list)
        for topic, key, value in events[start : start + 100]:
            by_topic[topic].append((event_key(key), value, 1))
        for topic, entries in by_topic.items():
            await sink.append_many(topic, entries)
    await sink.flush()
    await sink.close()


async def test_killed_again_and_again_it_ends_where_the_embedded_store_does(
    tmp_path: Path, kafka_bootstrap_servers: str, redis_server: RedisServer
) -> None:
    random_, prefix = random.Random(7), uuid.uuid4().hex
    settings = HomeMixerSettings.load(
        data_dir=tmp_path,
        kafka_bootstrap_servers=kafka_bootstrap_servers,
        kafka_topic_prefix=f"{prefix}.",
        redis_url=redis_server.url,
        redis_key_prefix=prefix,
        store_budget_ms=20_000.0,
    )
    await ensure_topics(settings, partitions=PARTITIONS, wait_s=60)
    events = [random_event(random_, IDS) for _ in range(EVENTS)]
    sent = events + random_.sample(events, EVENTS // 100)
    random_.shuffle(sent)
    sending = asyncio.create_task(append(settings, sent))
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "INGESTER__KAFKA_TOPIC_PREFIX": f"{prefix}.",
        "REDIS_URL": redis_server.url,
        "INGESTER__REDIS_KEY_PREFIX": prefix,
        "INGESTER__BATCH_RECORDS": "50",
    }
    async with Children(tmp_path) as children:
        processes = Processes(tmp_path, children, environment)
        await processes.start("ingester", "ingester")
        for kill in range(1, KILLS + 1):
            await until_stored(redis_server, prefix, kill * len(sent) // (KILLS + 3))
            await processes.kill("ingester")
            assert stored(redis_server, prefix) < len(sent), "killed too late to test anything"
            await processes.again("ingester")
        await sending
        await until_stored(redis_server, prefix, len(sent))
        await processes.ready("ingester", READY_AS)
        store = await open_feature_clients(settings)
        found = await seen(store.clients)
        await store.close()
        assert await processes.terminate("ingester") == 0

    batch = FeatureBatch()
    for topic, _, value in events:
        decode_event(topic, value, batch)
    oracle = MemoryFeatureStore()
    oracle.apply(batch, {})
    embedded = EmbeddedFeatureStore(tmp_path / "embedded", map_bytes=64 << 20)
    embedded.writer.apply(batch, {})
    assert found == await view(oracle.clients(), IDS)
    assert found == await view(embedded.clients(), IDS)
    embedded.close()
