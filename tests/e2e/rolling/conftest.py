"""Two of every service that answers, under a steady load, and one restarted after the other."""

from __future__ import annotations

import asyncio
import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from real_parts.feed_load import Answer, FeedLoad
from real_parts.processes import Processes

from foryou.children import Children
from protos import events_pb2
from service_kit.event_log import TOPIC_GRAPH, TOPIC_SERVED
from service_kit.event_logs import open_source, records_until_now
from service_kit.settings import ServiceSettings

CLIENTS, DEADLINE_S = 4, 5.0
VIEWERS = 24
FOLLOWS_MIN = 15
ANSWERS_BETWEEN = 20  # of the load, between two restarts
BACK_S_MAX = 90.0
SLOW_SHARE_MAX = 0.03  # answers without a part that took its three seconds: a starved machine
# Two cores run nine processes while models compile: a feed that is slow must not look like one
# that lost a service, so components may take their time.
PATIENT = (
    *("--request-budget-ms", "4000", "--thunder-budget-ms", "3000", "--store-budget-ms", "3000"),
    *("--retrieval-budget-ms", "3000", "--ranker-budget-ms", "3500"),
)
# Served posts come back at once: the demo's world is too small for minutes of feeds.
PARAMS = "[parameters]\nserved_history_window_seconds = 1\n"
PHOENIX = ("foryou.phoenix.v1.PredictionService", "foryou.phoenix.v1.RetrievalService")
NAMES = ("thunder-0", "thunder-1", "phoenix-0", "phoenix-1", "home-mixer-0", "home-mixer-1")


@dataclass
class Pairs:
    """The deployment, its load, and the figures of a test."""

    processes: Processes
    viewers: list[int]
    figures: list[str] = field(default_factory=list)

    @property
    def mixers(self) -> str:
        """Both home_mixers as one target."""
        return both(self.processes, "home-mixer")

    def load(self) -> FeedLoad:
        return FeedLoad(self.mixers, self.viewers, clients=CLIENTS, deadline_s=DEADLINE_S)

    async def restart(self, name: str, load: FeedLoad) -> None:
        """SIGTERM, the end, the same again; returns once it takes its part of the load."""
        code = await self.processes.terminate(name)
        assert code == 0, f"{name} ended with {code}"
        await self.back(name, load)

    async def back(self, name: str, load: FeedLoad) -> None:
        """Starts ``name`` again; as an orchestrator should, waits until clients have found it."""
        await self.processes.again(name)
        for service in PHOENIX if name.startswith("phoenix") else ("",):
            await self.processes.ready(name, service)
        if name in NAMES:
            await self.until_asked(name)
        await self.some_answers(load)

    async def until_asked(self, name: str) -> None:
        end_s = time.monotonic() + BACK_S_MAX
        wanted = 2 if name.startswith("phoenix") else 1  # methods
        while len(await asyncio.to_thread(self._answered, name)) < wanted:
            assert time.monotonic() < end_s, f"no client has found {name} again"
            await asyncio.sleep(0.1)

    async def some_answers(self, load: FeedLoad) -> None:
        wanted = load.answered + ANSWERS_BETWEEN
        await load.until(lambda: load.answered >= wanted, "the load goes on", BACK_S_MAX)

    def judge(self, what: str, answers: Sequence[Answer]) -> None:
        """No request failed, and none found a service away of which one replica was up."""
        failed = [answer.error for answer in answers if answer.feed is None]
        reasons = Counter(
            reason for a in answers if a.feed is not None for reason in a.feed.degraded_reasons
        )
        degraded = sum(a.feed is not None and not a.is_whole for a in answers)
        p50, p99 = np.percentile([a.seconds for a in answers], [50, 99]) * 1e3
        line = (
            f"{what}: {len(answers)} requests, {len(failed)} failed, {degraded} degraded, "
            f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"
        )
        self.figures.append(line)
        print(line, dict(reasons))
        assert not failed, f"{len(failed)} of {len(answers)} failed: {Counter(failed)}"
        lost = {reason for reason in reasons if not reason.endswith(":timeout")}
        assert not lost, f"{degraded} of {len(answers)} did without: {dict(reasons)}"
        assert degraded <= SLOW_SHARE_MAX * len(answers), dict(reasons)

    def _answered(self, name: str) -> set[tuple[str, ...]]:
        """Kinds of calls that the process has answered with OK since its start."""
        with urllib.request.urlopen(f"http://{self.processes.metrics[name]}/metrics") as page:
            families = text_string_to_metric_families(page.read().decode())
        return {
            tuple(sorted(sample.labels.items()))
            for family in families
            for sample in family.samples
            if sample.name.endswith("_requests_total") and "OK" in sample.labels.values()
        }


def both(processes: Processes, service: str) -> str:
    return ",".join(processes.addresses[f"{service}-{i}"] for i in (0, 1))


async def served_request_ids(settings: ServiceSettings) -> set[str]:
    """Of every event on `foryou.served`."""
    source = await open_source(settings, [TOPIC_SERVED])
    found: set[str] = set()
    async for records in records_until_now(source):
        found |= {events_pb2.ServedEvent.FromString(r.value).request_id for r in records}
    await source.close()
    return found


async def followers(settings: ServiceSettings) -> list[int]:
    """Viewers who follow enough accounts for a full feed."""
    source = await open_source(settings, [TOPIC_GRAPH])
    follows: Counter[int] = Counter()
    async for records in records_until_now(source):
        for record in records:
            edge = events_pb2.GraphEvent.FromString(record.value).edge
            if edge.kind == events_pb2.GraphEdge.KIND_FOLLOW and not edge.removed:
                follows[edge.user_id] += 1
    await source.close()
    return sorted(user for user, count in follows.items() if count >= FOLLOWS_MIN)[:VIEWERS]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pairs(demo_run: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pairs]:
    """One deployment for a file's tests: it takes half of their time to start."""
    data_dir = tmp_path_factory.mktemp("pairs") / "data"
    shutil.copytree(demo_run.data_dir, data_dir, ignore=shutil.ignore_patterns("logs"))
    params = data_dir / "params.toml"
    params.write_text(PARAMS)
    viewers = await followers(ServiceSettings(data_dir=data_dir))
    async with Children(data_dir) as children:
        processes = Processes(data_dir, children)
        for name in NAMES[:4]:
            await processes.start(name, name[:-2])
        await processes.start("ingester", "ingester")
        addresses = (
            *("--thunder-address", both(processes, "thunder")),
            *("--phoenix-address", both(processes, "phoenix")),
        )
        for name in NAMES[4:]:
            await processes.start(name, "home-mixer", *addresses, "--params", str(params), *PATIENT)
        for name in ("thunder-0", "thunder-1", "ingester", "home-mixer-0", "home-mixer-1"):
            await processes.ready(name)
        for name in ("phoenix-0", "phoenix-1"):
            for service in PHOENIX:
                await processes.ready(name, service)
        found = Pairs(processes, viewers)
        yield found
        print("\n" + "\n".join(found.figures))


@pytest.fixture
def read_served() -> Any:
    return served_request_ids
