"""The real processes of one deployment: started, killed without a word and started again.

On Kafka: thunder's feeder and its serving replicas, phoenix, and the ingester into Redis. On the
embedded log: thunder alone, phoenix, and the ingester into LMDB.
"""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from foryou.children import Child, Children
from foryou.waiting import until_serving

ANNOUNCE_SECONDS_MAX = 120.0  # imports on a machine that does much else
READY_SECONDS_MAX = 300.0  # catching up with everything, compiling included
SCRAPE_SECONDS_MAX = 10.0
LAG_INTERVAL_S = 1.5  # above a consumer's own, so that two looks are two measurements
QUERY_MS_MAX = 60_000  # an answer that time cuts short could not be compared
SNAPSHOT_INTERVAL_S = 5.0  # often enough that most restarts begin with one
LAG_METRIC = "consumer_lag_records"
THUNDER_SERVICE = "foryou.thunder.v1.InNetworkPostsService"
FEEDER_SERVICE = "foryou.thunder.feeder"
RETRIEVAL_SERVICE = "foryou.phoenix.v1.RetrievalService"
INGESTER_SERVICE = "foryou.ingester"
RETRIEVAL_MODEL = Path("phoenix/checkpoints/demo/retrieval")  # shipped; untrained for this world


class NotDrainedError(RuntimeError):
    """A consumer that does not come to its topic's end."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where everything is. Without ``kafka`` the embedded log, without ``redis_url`` LMDB."""

    directory: Path
    kafka: str = ""
    redis_url: str = ""
    replicas: int = 2  # of thunder, on Kafka
    shares: int = 1  # of the authors; each is kept by ``replicas``

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the deployment gets."""
        named = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka, "REDIS_URL": self.redis_url}
        return {name: value for name, value in named.items() if value}


@dataclass(slots=True)
class Service:
    """One consumer and its process of the moment. ``stage``: after whom it can be drained."""

    name: str
    arguments: list[str]
    health_name: str
    stage: int = 0
    child: Child | None = None
    address: str = ""
    metrics_address: str = ""
    kills: int = 0
    starts: int = field(default=0)

    async def start(self, children: Children, environment: dict[str, str]) -> None:
        """Starts the process and waits until it has said where it listens."""
        self.child = await children.start(self.name, self.arguments, environment)
        said = await self.child.first_json(ANNOUNCE_SECONDS_MAX)
        self.address, self.metrics_address = said["grpc_address"], said["metrics_address"]
        self.starts += 1

    async def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is flushed."""
        assert self.child is not None, "the service was never started"
        os.kill(self.child.pid, signal.SIGKILL)
        await self.child.ended()
        self.kills += 1

    async def ready(self) -> None:
        """Until it has caught up; CommandError with the end of its log where it does not."""
        assert self.child is not None, "the service was never started"
        await until_serving(self.child, self.address, READY_SECONDS_MAX, self.health_name)

    async def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every sample of a metric, by its name without the prefix."""
        url = f"http://{self.metrics_address}/metrics"
        page = await asyncio.to_thread(_read, url)
        return [
            (sample.labels, sample.value)
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name.endswith(name)
        ]

    async def total(self, name: str) -> float:
        """Sum over the labels of a metric."""
        return sum(value for _, value in await self.samples(name))

    async def drained(self, timeout_s: float) -> None:
        """Until its lag was 0 twice in a row on every partition; NotDrainedError."""
        loop = asyncio.get_running_loop()
        end_s, calm = loop.time() + timeout_s, 0
        lag: dict[str, float] = {}
        while calm < 2:
            if loop.time() > end_s:
                raise NotDrainedError(f"{self.name} still lags by {lag} after {timeout_s:.0f} s")
            lag = {str(labels): value for labels, value in await self.samples(LAG_METRIC)}
            calm = calm + 1 if lag and not any(lag.values()) else 0
            await asyncio.sleep(LAG_INTERVAL_S)
        await self.ready()


def services_of(deployment: Deployment) -> list[Service]:
    """Every consumer of the deployment, in the order in which they are started."""
    found = _thunder(deployment)
    common = _common(deployment, "")
    found.append(
        Service(
            "phoenix",
            [
                *("serve", "phoenix", *common),
                *("--retrieval-checkpoints", str(RETRIEVAL_MODEL.resolve())),
            ],
            RETRIEVAL_SERVICE,
        )
    )
    found.append(Service("ingester", ["serve", "ingester", *common], INGESTER_SERVICE))
    return found


def _thunder(deployment: Deployment) -> list[Service]:
    more = ["--snapshot-interval-seconds", f"{SNAPSHOT_INTERVAL_S:g}"]
    more += ["--request-timeout-ms", str(QUERY_MS_MAX)]
    if not deployment.kafka:
        alone = ["serve", "thunder", *_common(deployment, ""), *more]
        return [Service("thunder", alone, THUNDER_SERVICE)]
    feeder = [*("serve", "thunder", *_common(deployment, "feeder")), "--mode", "feeder"]
    found = [Service("feeder", feeder, FEEDER_SERVICE)]
    for share in range(deployment.shares):
        for replica in range(deployment.replicas):
            name = f"thunder-{share}-{replica}"
            arguments = ["serve", "thunder", *_common(deployment, name), "--mode", "serving"]
            arguments += ["--share", f"{share}/{deployment.shares}", *more]
            found.append(Service(name, arguments, THUNDER_SERVICE, stage=1))
    return found


def _common(deployment: Deployment, own: str) -> list[str]:
    """``own``: the directory of a process that shares none; "" is what the others share."""
    data_dir = deployment.directory / own if own and deployment.kafka else deployment.data_dir
    return ["--data-dir", str(data_dir), "--grpc-port", "0", "--metrics-port", "0"]


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS_MAX) as answer:
        text: str = answer.read().decode()
        return text
