"""One deployment for all rows of docs/degradation.md: real processes, Kafka, Redis, and a load.

Without Kafka or Redis the same suite runs on the embedded log and stores, and the rows about
them skip. Each row breaks one part under load, looks at every answer, mends it and waits until
feeds are whole again. What a viewer must not see was planted before: accounts blocked and muted,
posts deleted and labelled that stood in the feeds.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from real_parts import kafka, redis
from real_parts.feed_safety import FeedSafety
from real_parts.kafka import KafkaCluster
from real_parts.processes import Processes
from real_parts.redis import RedisServer
from real_parts.town import Town, now_ms, until_whole

from foryou.children import Children
from home_mixer.client import AsyncHomeMixerClient
from protos import events_pb2 as pb
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_GRAPH, TOPIC_POSTS
from service_kit.event_logs import open_sink, open_source, records_until_now
from service_kit.settings import ServiceSettings
from service_kit.topics import ensure_topics

VIEWERS = 12
FOLLOWS_MIN = 15
TOPICS = (TOPIC_GRAPH, TOPIC_POSTS, TOPIC_ACTIONS)
RANKER, RETRIEVAL = "foryou.phoenix.v1.PredictionService", "foryou.phoenix.v1.RetrievalService"
# Served posts come back at once: the world is small, and a feed that lacks a post proves more.
PARAMS = "[parameters]\nserved_history_window_seconds = 0\n"


@pytest.fixture(scope="session")
def town_kafka(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if kafka.jars() is None or not redis.available():
        yield None
        return
    with KafkaCluster(tmp_path_factory.mktemp("town-kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def town_redis(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if kafka.jars() is None or not redis.available():
        yield None
        return
    with RedisServer(tmp_path_factory.mktemp("town-redis")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def town(
    demo_run: Any,
    tmp_path_factory: pytest.TempPathFactory,
    town_kafka: KafkaCluster | None,
    town_redis: RedisServer | None,
) -> AsyncIterator[Town]:
    data_dir = tmp_path_factory.mktemp("town") / "data"
    wired = town_kafka is not None and town_redis is not None
    left_out = ("logs", "features", "log") if wired else ("logs",)
    shutil.copytree(demo_run.data_dir, data_dir, ignore=shutil.ignore_patterns(*left_out))
    environment = {}
    if town_kafka is not None and town_redis is not None:
        environment["KAFKA_BOOTSTRAP_SERVERS"] = town_kafka.bootstrap_servers
        environment["REDIS_URL"] = town_redis.url
    settings = ServiceSettings(
        data_dir=data_dir,
        kafka_bootstrap_servers=environment.get("KAFKA_BOOTSTRAP_SERVERS", ""),
    )
    safety = await world_of(demo_run.data_dir, settings)
    async with Children(data_dir) as children:
        processes = Processes(data_dir, children, environment)
        await start_all(processes, wired=wired)
        sink = await open_sink(settings)
        viewers = safety.following(FOLLOWS_MIN)[:VIEWERS]
        found = Town(processes, safety, viewers, sink, town_kafka, town_redis)
        await plant(found)
        yield found
        await sink.close()
        print("\n" + "\n".join(found.figures))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def embedded_town(
    town: Town, demo_run: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """The same on a directory, for rows about its disk; the models are the town's."""
    if not town.is_wired:
        yield town
        return
    data_dir = tmp_path_factory.mktemp("embedded-town") / "data"
    left_out = shutil.ignore_patterns("logs", "checkpoints", "jax_cache")
    shutil.copytree(demo_run.data_dir, data_dir, ignore=left_out)
    settings = ServiceSettings(data_dir=data_dir)
    async with Children(data_dir) as children:
        processes = Processes(data_dir, children)
        await processes.start("thunder-0", "thunder")
        await processes.start("ingester", "ingester")
        for name in ("ranker", "retrieval"):
            processes.addresses[name] = town.processes.addresses[name]
        await start_home_mixer(processes, "home-mixer")
        for name in processes.running:
            await processes.ready(name)
        safety, sink = await world_of(demo_run.data_dir, settings), await open_sink(settings)
        yield replace(town, processes=processes, safety=safety, sink=sink, kafka=None, redis=None)
        await sink.close()


async def world_of(demo: Path, settings: ServiceSettings) -> FeedSafety:
    """The judge, who has read the demo's events; with Kafka they are copied there on the way."""
    safety, wired = FeedSafety(), bool(settings.kafka_bootstrap_servers)
    source = await open_source(ServiceSettings(data_dir=demo), TOPICS)
    sink = await open_sink(settings)
    if wired:
        await ensure_topics(settings, wait_s=30)
    async for records in records_until_now(source):
        safety.learn(records)
        for topic in TOPICS if wired else ():
            entries = [(r.key, r.value, r.timestamp_ms) for r in records if r.topic == topic]
            await sink.append_many(topic, entries)
    await sink.flush()
    await sink.close()
    await source.close()
    return safety


async def start_all(processes: Processes, *, wired: bool) -> None:
    nothing = processes.data_dir / "no-models"
    nothing.mkdir()
    commands = {
        "thunder-0": ("thunder",),
        "ranker": ("phoenix", "--retrieval-checkpoints", str(nothing)),
        "retrieval": ("phoenix", "--ranker-checkpoints", str(nothing)),
        "ingester": ("ingester",),
    }
    if wired:
        commands["feeder"] = ("thunder", "--mode", "feeder")
        for share in ("0", "1"):
            serving = ("thunder", "--mode", "serving", "--share", f"{share}/2")
            commands[f"thunder-{share}"] = serving
    await asyncio.gather(*(processes.start(name, *what) for name, what in commands.items()))
    mixers = ("home-mixer", "home-mixer-2")
    await asyncio.gather(*(start_home_mixer(processes, name) for name in mixers))
    for name in processes.running.keys() - {"ranker", "retrieval"}:
        await processes.ready(name)
    await processes.ready("ranker", RANKER)
    await processes.ready("retrieval", RETRIEVAL)


async def start_home_mixer(processes: Processes, name: str) -> None:
    params = processes.data_dir / "params.toml"
    params.write_text(PARAMS)
    addresses = processes.addresses
    thunders = [addresses[name] for name in ("thunder-0", "thunder-1") if name in addresses]
    flags = (
        *("--thunder-address", ";".join(thunders), "--params", str(params)),
        *("--phoenix-address", addresses["ranker"]),
        *("--retrieval-address", addresses["retrieval"]),
    )
    await processes.start(name, "home-mixer", *flags)


async def plant(town: Town) -> None:
    """Viewers block and mute whom they see, some block them; posts are deleted and labelled."""
    before = {}
    async with AsyncHomeMixerClient(town.address, timeout_s=5.0) as client:
        for viewer in town.viewers:
            before[viewer] = await until_whole(client, viewer)
        for viewer, feed in before.items():
            authors = list(dict.fromkeys(post.author_id for post in feed.posts))
            for kind, user, target in (
                (pb.GraphEdge.KIND_BLOCK, viewer, authors[0]),
                (pb.GraphEdge.KIND_MUTE, viewer, authors[1]),
                (pb.GraphEdge.KIND_BLOCK, authors[2], viewer),
            ):
                edge = pb.GraphEdge(
                    kind=kind, user_id=user, target_user_id=target, changed_at_ms=now_ms()
                )
                await town.emit(edge)
            gone, unsafe = feed.posts[-1], feed.posts[-2]
            delete = pb.PostDelete(
                post_id=gone.post_id, author_id=gone.author_id, deleted_at_ms=now_ms()
            )
            labels = pb.PostLabels(
                post_id=unsafe.post_id,
                author_id=unsafe.author_id,
                labels=[pb.VISIBILITY_LABEL_SPAM],
                labelled_at_ms=now_ms(),
            )
            await town.emit(pb.PostEvent(delete=delete), pb.PostEvent(labels=labels))
        for viewer, feed in before.items():  # a judge who never objects would prove nothing
            assert len(town.safety.violations(viewer, feed)) >= 5
    for viewer in town.viewers:
        await town.until_clean(viewer)
