"""A deployment under load whose parts can be broken one at a time, and a judge of every answer."""

from __future__ import annotations

import asyncio
import os
import time
import urllib.request
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from home_mixer.client import AsyncHomeMixerClient, Feed
from protos import events_pb2 as pb
from protos import thunder_pb2, thunder_pb2_grpc
from real_parts import kafka, redis
from real_parts.feed_load import Answer, FeedLoad
from real_parts.feed_safety import FeedSafety
from real_parts.kafka import KafkaCluster
from real_parts.processes import Processes
from real_parts.redis import RedisServer
from service_kit.event_log import TOPIC_GRAPH, TOPIC_POSTS, EventSink, event_key

DEADLINE_S = 1.0  # home_mixer's budget for a feed
# Of a client that shares two cores with ten services and whatever else runs; 0 on a quiet machine.
SLACK_S = float(os.environ.get("FORYOU_SLACK_SECONDS", "2"))
CLIENTS = 3
OUTAGE_ANSWERS, OUTAGE_S = 40, 3.5  # long enough for breakers to open, and to probe in vain
SETTLED = 0.5  # of the outage's answers, the later ones: what it looks like once it lasts
CLEAR_MIN = 5  # answers in which the outage shows without a busy machine's own delays
WHOLE_RUN = 4  # whole answers in a row are a recovery
RECOVERY_S_MAX = 120.0
ARRIVAL_S_MAX = 120.0  # of an event that was sent

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
        end_s = time.monotonic() + ARRIVAL_S_MAX
        while not await reached():
            assert time.monotonic() < end_s, f"waited {ARRIVAL_S_MAX} s until {why}"
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
        end_s = time.monotonic() + ARRIVAL_S_MAX
        async with AsyncHomeMixerClient(self.address, timeout_s=5.0) as client:
            while wrong := self.safety.violations(viewer, await until_whole(client, viewer)):
                assert time.monotonic() < end_s, f"still shown: {wrong}"
                await asyncio.sleep(0.1)

    async def until_thunder_has(self, post: pb.PostCreate) -> None:
        """Waits until thunder answers with that post."""
        request = thunder_pb2.GetInNetworkPostsRequest(
            user_id=post.author_id, following_user_ids=[post.author_id], max_results=5
        )
        end_s = time.monotonic() + ARRIVAL_S_MAX
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


async def until_whole(client: AsyncHomeMixerClient, viewer: int) -> Feed:
    end_s = time.monotonic() + RECOVERY_S_MAX
    while True:
        feed = await client.get_scored_posts(viewer)
        if len(feed.posts) >= 10 and not feed.degraded_reasons:
            return feed
        assert time.monotonic() < end_s, (len(feed.posts), feed.degraded_reasons)
        await asyncio.sleep(0.1)
