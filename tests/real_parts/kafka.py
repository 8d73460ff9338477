"""Apache Kafka for tests: brokers in KRaft mode on free ports of 127.0.0.1.

Its jars come from Maven Central (`.ci/run` fetches them, by the `pom.xml` beside this file) and
lie in ``FORYOU_KAFKA_JARS`` or ~/.cache/foryou/kafka. A broker may be stopped, killed, paused and
started again at its own address with its data.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from real_parts.server import Server

JARS_DEFAULT = Path.home() / ".cache" / "foryou" / "kafka"
HOW_TO_GET_IT = (
    "needs Java 17 and Apache Kafka's jars: mvn -f tests/real_parts/pom.xml "
    "dependency:copy-dependencies -DoutputDirectory=$HOME/.cache/foryou/kafka "
    "(or point FORYOU_KAFKA_JARS at them, or KAFKA_BOOTSTRAP_SERVERS at a running Kafka)"
)
CLUSTER_ID = "Zm9yeW91LXRlc3RzLWtmaw"  # any base64 of 16 bytes
START_SECONDS_MAX = 180.0  # a start takes 3 s; the bound is for a machine that does much else
HEAP = "-Xmx512m"


def jars() -> Path | None:
    """Where Kafka's jars are; None where it cannot be run here."""
    directory = Path(os.environ.get("FORYOU_KAFKA_JARS", JARS_DEFAULT))
    found = any(directory.glob("kafka_2.13-*.jar")) and shutil.which("java") is not None
    return directory if found else None


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()


class Broker(Server):
    """One broker (and controller). `start` returns once it accepts connections."""

    def __init__(
        self, directory: Path, node: int, ports: tuple[int, int], voters: str, replicas: int
    ) -> None:
        super().__init__()
        self.directory = directory
        self.port, self._controller_port = ports
        self._node, self._voters, self._replicas = node, voters, replicas
        self._settings = directory / "server.properties"
        self._log = directory / "broker.log"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def format(self, extra: dict[str, str]) -> None:
        """Prepares the data directory, once."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(self._node),
            "controller.quorum.voters": self._voters,
            "listeners": f"PLAINTEXT://{self.address},"
            f"CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.directory / "data"),
            "offsets.topic.replication.factor": str(self._replicas),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(self._replicas),
            "transaction.state.log.min.isr": "1",
            "default.replication.factor": str(self._replicas),
            "min.insync.replicas": str(max(1, self._replicas - 1)),
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "log.segment.bytes": str(64 << 20),
            "num.network.threads": "2",
            "num.io.threads": "4",
            **extra,
        }
        self._settings.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        command = ["format", "-t", CLUSTER_ID, "-c", str(self._settings), "--ignore-formatted"]
        run = subprocess.run(
            [*_java("-Xmx128m", "-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool", *command],
            capture_output=True,
            text=True,
            timeout=START_SECONDS_MAX,
        )
        assert run.returncode == 0, run.stdout + run.stderr

    def start(self, *, wait: bool = True) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_java(HEAP, "-XX:+UseSerialGC"), "kafka.Kafka", str(self._settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait_until_open()

    def wait_until_open(self) -> None:
        end_s = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end_s:
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()[-4000:]
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"no broker at {self.address}: {self._log.read_text()[-4000:]}")


class KafkaCluster:
    """Brokers that know one another; leave the `with` block and all are gone."""

    def __init__(
        self, directory: Path, brokers: int = 1, extra: dict[str, str] | None = None
    ) -> None:
        ports = free_ports(2 * brokers)
        voters = ",".join(f"{i + 1}@127.0.0.1:{ports[2 * i + 1]}" for i in range(brokers))
        self.brokers = [
            Broker(directory / str(i), i + 1, (ports[2 * i], ports[2 * i + 1]), voters, brokers)
            for i in range(brokers)
        ]
        self._extra = extra or {}

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    def __enter__(self) -> KafkaCluster:
        for broker in self.brokers:
            broker.format(self._extra)
        for broker in self.brokers:
            broker.start(wait=False)
        for broker in self.brokers:
            broker.wait_until_open()
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers:
            broker.kill()


def _java(*flags: str) -> Sequence[str]:
    directory = jars()
    assert directory is not None, HOW_TO_GET_IT
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return ["java", *flags, quiet, "-cp", f"{directory}/*"]
