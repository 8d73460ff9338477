"""One deployment for all rows of docs/degradation.md: real processes, Kafka, Redis, and a load.

Without Kafka or Redis the same suite runs on the embedded log and stores, and the rows about
them skip. Each row breaks one part under load, looks at every answer, mends it and waits until
feeds are whole again. What a viewer must not see was planted before: accounts blocked and muted,
posts deleted and labelled that stood in the feeds.
"""

from __future__ import annotations

import asyncio
import shutil
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from real_parts import kafka, redis
from real_parts.feed_load import Answer, FeedLoad
from real_parts.feed_safety import FeedSafety
from real_parts.kafka import KafkaCluster
from real_parts.processes import Processes
from real_parts.redis import RedisServer

from foryou.children import Children
from home_mixer.client import AsyncHomeMixerClient, Feed
from protos import events_pb2 as pb
from protos import thunder_pb2, thunder_pb2_grpc
from service_kit.event_log import TOPIC_ACTIONS, TOPIC_GRAPH, TOPIC_POSTS, EventSink, event_key
from service_kit.event_logs import open_sink, open_source, records_until_now
from service_kit.settings import ServiceSettings
from service_kit.topics import ensure_topics

VIEWERS, CLIENTS = 12, 3
DEADLINE_S = 1.0  # home_mixer's budget for a feed
SLACK_S = 2.0  # of a client that shares two cores with ten services and whatever else runs
FOLLOWS_MIN = 15
OUTAGE_ANSWERS, OUTAGE_S = 40, 3.5  # long enough for breakers to open, and to probe in vain
SETTLED = 0.5  # of the outage's answers, the later ones: what it looks like once it lasts
CLEAR_MIN = 5  # answers in which the outage shows without a busy machine's own delays
WHOLE_RUN = 4  # whole answers in a row are a recovery
RECOVERY_S_MAX = 120.0
PLANT_S_MAX = 120.0
TOPICS = (TOPIC_GRAPH, TOPIC_POSTS, TOPIC_ACTIONS)
RANKER, RETRIEVAL = "foryou.phoenix.v1.PredictionService", "foryou.phoenix.v1.RetrievalService"
# Served posts come back at once: the world is small, and a feed that lacks a post proves more.
PARAMS = "[parameters]\nserved_history_window_seconds = 0\n"

Step = Callable[[], Awaitable[None]]


@dataclass
class Town:
    """The deployment, its viewers, and what they must not see."""

    processes: Processes
    safety: FeedSafety
    viewers: list[int]
    sink: EventSink
    kafka: KafkaCluster | None
    redis: RedisServer | None
    figures: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.processes.addresses["home-mixer"]

    @property
    def is_wired(self) -> bool:
        return self.kafka is not None and self.redis is not None

    def needs_wires(self) -> None:
        """Skips a row about Kafka or Redis where they cannot be had."""
        if self.kafka is None:
            pytest.skip(kafka.HOW_TO_GET_IT)
        if self.redis is None:
            pytest.skip(redis.HOW_TO_GET_IT)

    def killing(self, *names: str) -> tuple[Step, Step]:
        """(kill these processes, start them again): the first two arguments of `outage`."""

        async def breaks() -> None:
            for name in names:
                await self.processes.kill(name)

        async def mends() -> None:
            for name in names:
                await self.processes.again(name)

        return breaks, mends

    def pausing(self, *names: str) -> tuple[Step, Step]:
        """(stop these processes where they are, let them go on)."""

        async def breaks() -> None:
            for name in names:
                self.processes.pause(name)

        async def mends() -> None:
            for name in names:
                self.processes.resume(name)

        return breaks, mends

    @property
    def thunders(self) -> list[str]:
        """Names of the processes that answer for followed accounts."""
        return [name for name in ("thunder-0", "thunder-1") if name in self.processes.running]

    async def metric(self, process: str, name: str, **labels: str) -> float:
        """Sum of a process's samples of that name with these labels."""
        url = f"http://{self.processes.metrics[process]}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
        samples = [
            sample
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(sample.value for sample in samples)

    async def emit(self, *events: Any, judged: bool = True) -> None:
        """Edges and post events go to the services, and the judge learns them."""
        for event in events:
            if judged:
                self.learn(event)
            if isinstance(event, pb.GraphEdge):
                topic, key, at_ms = TOPIC_GRAPH, event.user_id, event.changed_at_ms
                value = pb.GraphEvent(edge=event).SerializeToString()
            else:
                inner = getattr(event, event.WhichOneof("event"))
                topic, key, at_ms = TOPIC_POSTS, inner.author_id, now_ms()
                value = event.SerializeToString()
            await self.sink.append(topic, event_key(key), value, at_ms)

    async def until(self, reached: Callable[[], Awaitable[bool]], why: str) -> None:
        """Polls for a condition; AssertionError after a while."""
        end_s = time.monotonic() + PLANT_S_MAX
        while not await reached():
            assert time.monotonic() < end_s, f"waited {PLANT_S_MAX} s until {why}"
            await asyncio.sleep(0.05)

    def learn(self, event: Any) -> None:
        """From now on the judge holds feeds to it."""
        if isinstance(event, pb.GraphEdge):
            self.safety.learn_edge(event)
        else:
            self.safety.learn_post(event)

    async def muted(self, viewer: int) -> pb.GraphEdge:
        """A mute of whoever tops the viewer's feed; not sent yet."""
        async with AsyncHomeMixerClient(self.address, timeout_s=5.0) as client:
            top = (await until_whole(client, viewer)).posts[0]
        return pb.GraphEdge(
            kind=pb.GraphEdge.KIND_MUTE,
            user_id=viewer,
            target_user_id=top.author_id,
            changed_at_ms=now_ms(),
        )

    async def until_clean(self, viewer: int) -> None:
        """Waits until a whole feed breaks no promise: what was sent has arrived."""
        end_s = time.monotonic() + PLANT_S_MAX
        async with AsyncHomeMixerClient(self.address, timeout_s=5.0) as client:
            while wrong := self.safety.violations(viewer, await until_whole(client, viewer)):
                assert time.monotonic() < end_s, f"still shown: {wrong}"
                await asyncio.sleep(0.1)

    async def until_thunder_has(self, post: pb.PostCreate) -> None:
        """Waits until thunder answers with that post."""
        request = thunder_pb2.GetInNetworkPostsRequest(
            user_id=post.author_id, following_user_ids=[post.author_id], max_results=5
        )
        end_s = time.monotonic() + PLANT_S_MAX
        while True:
            for name in self.thunders:
                request.share_index = self.thunders.index(name)
                request.share_count = len(self.thunders)
                async with grpc.aio.insecure_channel(self.processes.addresses[name]) as channel:
                    stub = thunder_pb2_grpc.InNetworkPostsServiceStub(channel)
                    answer = await stub.GetInNetworkPosts(request, timeout=10)
                if post.post_id in [found.post_id for found in answer.posts]:
                    return
            assert time.monotonic() < end_s, "the post did not reach thunder"
            await asyncio.sleep(0.05)

    async def outage(
        self,
        row: str,
        breaks: Step,
        mends: Step,
        *,
        reasons: Collection[str] = (),
        parts: Collection[str] = (),
        feeds: Callable[[Feed], bool] = lambda feed: len(feed.posts) > 0,
        address: str = "",
        outage_s: float = OUTAGE_S,
    ) -> list[Answer]:
        """One row under load; the answers given while the part was broken.

        ``reasons``: each must be given during the outage. ``feeds``: holds of every later answer
        that the row alone degrades. ``parts``: the components that it degrades, where ``reasons``
        do not name them all. On a busy machine others may be late as well, and are left out of
        this; time and safety are asked of every answer.
        """
        broken = {*parts, *(reason.partition(":")[0] for reason in reasons)}

        wait_s = DEADLINE_S + SLACK_S
        load = FeedLoad(address or self.address, self.viewers, clients=CLIENTS, deadline_s=wait_s)
        async with load:
            await load.until(lambda: is_back(load.answers), "feeds are whole before the outage")
            first = load.answered
            started_s = time.monotonic()
            await breaks()
            try:
                await load.until(
                    lambda: (
                        load.answered - first >= OUTAGE_ANSWERS
                        and time.monotonic() - started_s >= outage_s
                        and len(clear(load.answers[first:], broken)) >= CLEAR_MIN
                    ),
                    "the outage has lasted",
                )
                last = load.answered
            finally:
                await mends()
            mended_s, again = time.monotonic(), load.answered
            await load.until(
                lambda: is_back(load.answers[again:]), "feeds are whole again", RECOVERY_S_MAX
            )
            recovered_s = time.monotonic() - mended_s
        during = load.answers[first:last]
        self._figure(row, during, recovered_s)
        self._judge(load.answers)
        said = {reason for answer in during for reason in reasons_of(answer)}
        assert set(reasons) <= said, f"expected {reasons}, got {said}"
        for answer in clear(during, broken):
            assert answer.feed is not None
            assert feeds(answer.feed), (len(answer.feed.posts), answer.feed.degraded_reasons)
        return during

    def _judge(self, answers: list[Answer]) -> None:
        """Every answer came in time, and shows nothing that it must not."""
        failed = [answer for answer in answers if answer.feed is None]
        assert not failed, f"{len(failed)} of {len(answers)} failed, such as {failed[0]}"
        wrong = [
            sentence
            for answer in answers
            if answer.feed is not None
            for sentence in self.safety.violations(answer.viewer_id, answer.feed)
        ]
        assert not wrong, f"{len(wrong)} posts, such as {wrong[0]}"

    def _figure(self, row: str, during: list[Answer], recovered_s: float) -> None:
        p50, p99 = np.percentile([answer.seconds for answer in during], [50, 99]) * 1e3
        late = sum(answer.seconds > DEADLINE_S for answer in during)
        unsafe = sum(
            len(self.safety.violations(answer.viewer_id, answer.feed))
            for answer in during
            if answer.feed is not None
        )
        line = f"| {row} | {len(during)} | {p50:.0f} | {p99:.0f} | {late} | {unsafe} |"
        self.figures.append(f"{line} {recovered_s:.1f} |")
        seen = sorted({reason for answer in during for reason in reasons_of(answer)})
        print(self.figures[-1], " ".join(seen))


def reasons_of(answer: Answer) -> tuple[str, ...]:
    return answer.feed.degraded_reasons if answer.feed is not None else ()


def clear(during: list[Answer], broken: Collection[str]) -> list[Answer]:
    """Answers of the outage's later part that nothing but the row degrades."""
    settled = during[int(SETTLED * len(during)) :]
    return [
        answer
        for answer in settled
        if {reason.partition(":")[0] for reason in reasons_of(answer)} <= set(broken)
    ]


def is_back(answers: list[Answer]) -> bool:
    return len(answers) >= WHOLE_RUN and all(answer.is_whole for answer in answers[-WHOLE_RUN:])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


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


async def until_whole(client: AsyncHomeMixerClient, viewer: int) -> Feed:
    end_s = time.monotonic() + RECOVERY_S_MAX
    while True:
        feed = await client.get_scored_posts(viewer)
        if len(feed.posts) >= 10 and not feed.degraded_reasons:
            return feed
        assert time.monotonic() < end_s, (len(feed.posts), feed.degraded_reasons)
        await asyncio.sleep(0.1)
