"""One replay from the first event to the last comparison.

topics → consumers start → production ∥ faults → consumers drain → every store against the oracle
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from benchmarks.replay.chaos import BROKER, REDIS, Chaos, Server, schedule
from benchmarks.replay.compare import (
    Difference,
    compare_features,
    compare_index,
    compare_thunder,
)
from benchmarks.replay.derive import HOUR_MS, Replay
from benchmarks.replay.oracle import Oracle
from benchmarks.replay.producer import Producer
from benchmarks.replay.report import Report
from benchmarks.replay.services import Deployment, Service, services_of
from benchmarks.replay.stream import Stream
from foryou.children import Children
from home_mixer.clients.opening import open_feature_clients
from home_mixer.clients.protocols import FeatureClients
from home_mixer.settings import HomeMixerSettings
from service_kit.clock import SystemClock
from service_kit.event_log import TOPIC_POSTS, dead_letter_topic
from service_kit.event_logs import open_sink, open_source

logger = logging.getLogger(__name__)
RETENTION_MS = 48 * HOUR_MS  # thunder's and the index's default
DRAIN_SECONDS_MAX = 600.0
TOPICS_SECONDS_MAX = 120.0
STORE_BUDGET_MS = 60_000.0  # thousands of ids a call, on a machine that does much else


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each consumer is killed, the broker restarted and Redis lost with all that it
    held; ``seed`` says when."""

    seed: int
    kills: int = 3
    broker_restarts: int = 2
    redis_losses: int = 1


@dataclass(slots=True)
class Run:
    """One deployment and what is done to it."""

    deployment: Deployment
    replay: Replay
    stream: Stream
    faults: Faults
    production_s: float
    viewers: Sequence[int]
    servers: Mapping[str, Server] = field(default_factory=dict)  # BROKER and REDIS, where they are
    services: list[Service] = field(default_factory=list)

    async def __call__(self) -> Report:
        """Raises CommandError or NotDrainedError where a consumer does not come back."""
        started_s = time.monotonic()
        self.services = services_of(self.deployment)
        async with AsyncExitStack() as stack:
            children = await stack.enter_async_context(Children(self.deployment.directory))
            await self._topics(children)
            await asyncio.gather(*(self._start(children, service) for service in self.services))
            producer, chaos = await self._produce(children)
            drained_s = time.monotonic()
            await self._drained()
            drained_s = time.monotonic() - drained_s
            differences = await self._compare()
            return Report(
                replay=self.replay,
                stream=self.stream,
                producer=producer,
                damage=chaos.damage,
                starts={service.name: service.starts for service in self.services},
                batches_failed=await self._sum("consumer_restarts_total"),
                dead_letters=await self._dead_letters(),
                differences=differences,
                drain_s=drained_s,
                seconds=time.monotonic() - started_s,
            )

    async def _topics(self, children: Children) -> None:
        if not self.deployment.kafka:
            return
        arguments = ["topics", "--wait", "60"]
        environment = self.deployment.environment
        child = await children.start("topics", arguments, environment)
        code = await asyncio.wait_for(child.ended(), TOPICS_SECONDS_MAX)
        if code != 0:
            raise child.failed(f"ended with exit code {code}")

    async def _start(self, children: Children, service: Service) -> None:
        await service.start(children, self.deployment.environment)
        logger.info("%s listens at %s", service.name, service.address)

    async def _produce(self, children: Children) -> tuple[Producer, Chaos]:
        """Production and faults side by side; both are over on return."""
        chaos = Chaos(self.services, lambda service: self._start(children, service), self.servers)
        names = [service.name for service in self.services]
        blows = schedule(
            names,
            self.faults.seed,
            kills=self.faults.kills,
            broker_restarts=self.faults.broker_restarts if BROKER in self.servers else 0,
            redis_losses=self.faults.redis_losses if REDIS in self.servers else 0,
        )
        records = len(self.stream.sends)
        producer = Producer(await open_sink(self._settings()))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(chaos.run(blows, lambda: producer.acknowledged / records))
                group.create_task(producer.run(self.stream.sends, self.production_s))
        finally:
            await producer.sink.close()
        return producer, chaos

    async def _drained(self) -> None:
        for stage in sorted({service.stage for service in self.services}):
            await asyncio.gather(
                *(s.drained(DRAIN_SECONDS_MAX) for s in self.services if s.stage == stage)
            )
            logger.info("stage %d has handled everything", stage)

    async def _compare(self) -> list[Difference]:
        """Every store; the replicas of thunder one by one."""
        cutoff_ms = SystemClock().now_ms() - RETENTION_MS
        oracle = await asyncio.to_thread(Oracle, self.replay.events, cutoff_ms=cutoff_ms)
        by_name = {service.name: service for service in self.services}
        differences = await compare_index("index", by_name["phoenix"].address, oracle)
        for replica, addresses in self._thunders().items():
            differences += await compare_thunder(replica, addresses, oracle, self.viewers)
        async with self._features() as clients:
            name = "redis" if self.deployment.redis_url else "lmdb"
            differences += await compare_features(name, clients, oracle)
        return differences

    def _thunders(self) -> dict[str, list[str]]:
        """Addresses, share by share, of each full set of replicas."""
        if not self.deployment.kafka:
            return {"thunder": [self.services[0].address]}
        by_name = {service.name: service.address for service in self.services}
        return {
            f"thunder {replica}": [
                by_name[f"thunder-{share}-{replica}"] for share in range(self.deployment.shares)
            ]
            for replica in range(self.deployment.replicas)
        }

    @asynccontextmanager
    async def _features(self) -> AsyncIterator[FeatureClients]:
        store = await open_feature_clients(self._settings())
        try:
            yield store.clients
        finally:
            await store.close()

    async def _dead_letters(self) -> int:
        """Records put aside by anybody."""
        topics = [dead_letter_topic(TOPIC_POSTS)]
        source = await open_source(self._settings(), topics)
        try:
            return sum((await source.end_offsets()).values())
        finally:
            await source.close()

    async def _sum(self, metric: str) -> int:
        return int(sum([await service.total(metric) for service in self.services]))

    def _settings(self) -> HomeMixerSettings:
        return HomeMixerSettings.load(
            data_dir=self.deployment.data_dir,
            kafka_bootstrap_servers=self.deployment.kafka or None,
            redis_url=self.deployment.redis_url or None,
            store_budget_ms=STORE_BUDGET_MS,
        )


def viewers_of(replay: Replay, count: int, seed: int) -> list[int]:
    """Users who follow somebody, drawn by seed, and those who follow the most."""
    oracle = Oracle(replay.events, cutoff_ms=0)
    lists = oracle.follows_by_user()
    by_size = sorted(lists, key=lambda user_id: (-len(lists[user_id]), user_id))
    drawn = np.random.default_rng(seed).permutation(by_size)[: count // 2]
    return sorted({*by_size[: count - count // 2], *drawn.tolist()})
