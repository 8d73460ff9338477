"""The compose file's containers as processes, on a real Kafka, Redis and Prometheus."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_parts import kafka, redis
from real_parts.compose_file import ROOT, Container, containers, image
from real_parts.containers import AddressBook, Containers
from real_parts.kafka import KafkaCluster
from real_parts.redis import RedisServer

HOW_TO_GET_PROMETHEUS = "needs prometheus on the PATH (Debian: apt-get install prometheus)"
SMALL_WORLD = {"DEMO_USERS": "400", "DEMO_TRAIN_SECONDS": "8"}
HEALTHY_SECONDS_MAX = 600.0  # the first start compiles; others may use the machine, too
DEMO_SECONDS_MAX = 900.0
QUERY_SECONDS_MAX = 30.0
SERVED_BY_US = ("kafka", "redis", "prometheus", "grafana")


class Prometheus:
    """Debian's Prometheus with the deployment's own configuration, addresses translated."""

    def __init__(self, container: Container, book: AddressBook, directory: Path) -> None:
        self._directory, self._book = directory, book
        self._port = book.port("prometheus", 9090)
        self._command = container.command
        configuration = directory / "configuration"
        shutil.copytree(
            ROOT / container.volumes["/etc/prometheus"].removesuffix("/"), configuration
        )
        file = configuration / "prometheus.yml"
        file.write_text(book.translate(file.read_text(), "prometheus"))
        self._places = {"/etc/prometheus": configuration, "/prometheus": directory / "data"}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Prometheus:
        words = list(self._command)
        for place, ours in self._places.items():
            words = [re.sub(rf"={place}(?=/|$)", f"={ours}", word) for word in words]
        with (self._directory / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["prometheus", *words, f"--web.listen-address=127.0.0.1:{self._port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, path: str, **parameters: str) -> list[dict]:
        """The result of one call of its API; asked again while it starts."""
        query = urllib.parse.urlencode(parameters)
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{query}"
        end_s = time.monotonic() + QUERY_SECONDS_MAX
        while True:
            try:
                with urllib.request.urlopen(url, timeout=QUERY_SECONDS_MAX) as answer:
                    return json.loads(answer.read())["data"]["result"]
            except urllib.error.HTTPError as error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from error
            except OSError:
                assert time.monotonic() < end_s, "prometheus does not answer"
                time.sleep(0.5)

    def values(self, expression: str, seconds: int) -> dict[str, list[float]]:
        """By series, the numbers of the last `seconds`; NaN is none."""
        now_s = time.time()
        series = self.ask(
            "query_range",
            query=expression,
            start=str(now_s - seconds),
            end=str(now_s),
            step="5",
        )
        found = {
            json.dumps(item["metric"]): [float(value) for _, value in item["values"]]
            for item in series
        }
        kept = {name: [v for v in values if math.isfinite(v)] for name, values in found.items()}
        return {name: values for name, values in kept.items() if values}


@dataclass
class Run:
    """The suite after `docker compose --profile demo up`, as far as there is no Docker."""

    containers: Containers
    prometheus: Prometheus
    demo_output: str
    seconds: float

    @property
    def servers(self) -> list[str]:
        return [
            name
            for name, item in self.containers.containers.items()
            if item.command[:1] == ["serve"]
        ]

    @property
    def viewer_id(self) -> int:
        found = re.search(r"feed of viewer (\d+)", self.demo_output)
        assert found, self.demo_output
        return int(found[1])


@pytest.fixture(scope="session")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as the image installs them: from the wheel, where nobody can change them."""
    directory = tmp_path_factory.mktemp("image")
    command = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(directory), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = directory.glob("*.whl")
    site = directory / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    for place in site.rglob("*"):
        place.chmod(0o755 if place.is_dir() else 0o644)
    open_to_all(site)
    open_to_all(directory)
    return site


@pytest.fixture(scope="module")
def compose_run(tmp_path_factory: pytest.TempPathFactory, site_packages: Path) -> Iterator[Run]:
    """Everything of the file that can run here, in its order, up to the demo's end."""
    for found, how in (
        (kafka.jars() is not None, kafka.HOW_TO_GET_IT),
        (redis.available(), redis.HOW_TO_GET_IT),
        (shutil.which("prometheus") is not None, HOW_TO_GET_PROMETHEUS),
    ):
        if not found:
            pytest.skip(how)
    directory = tmp_path_factory.mktemp("compose")
    open_to_all(directory)
    every = containers(SMALL_WORLD)
    book = AddressBook(every)
    with (
        KafkaCluster(directory / "kafka", extra=broker_settings(every["kafka"])) as cluster,
        RedisServer(directory / "redis", *every["redis"].command[1:]) as store,
    ):
        book.set("kafka", 9092, cluster.brokers[0].port)
        book.set("redis", 6379, store.port)
        suite = Containers(every, image(), book, directory, site_packages)
        with suite, Prometheus(every["prometheus"], book, directory / "prom") as prometheus:
            started_s = time.monotonic()
            for name in in_order(every):
                if name not in SERVED_BY_US:
                    bring_up(suite, name)
            suite.wait("demo", "service_completed_successfully", DEMO_SECONDS_MAX)
            seconds = time.monotonic() - started_s
            yield Run(suite, prometheus, suite.log("demo").read_text(), seconds)


def bring_up(suite: Containers, name: str) -> None:
    for needed, condition in suite.containers[name].depends_on.items():
        if needed not in SERVED_BY_US:  # those are up already
            suite.wait(needed, condition, HEALTHY_SECONDS_MAX)
    suite.start(name)


def in_order(every: dict[str, Container]) -> list[str]:
    """Names, each after what it depends on."""
    done: list[str] = []
    while len(done) < len(every):
        ready = [n for n, c in every.items() if n not in done and set(c.depends_on) <= set(done)]
        assert ready, "services wait for one another"
        done += ready
    return done


def broker_settings(container: Container) -> dict[str, str]:
    """KAFKA_A_B is the broker's a.b; addresses and places are the test broker's own."""
    ours = ("NODE", "PROCESS", "CONTROLLER", "LISTENER", "ADVERTISED", "INTER", "LOG", "HEAP")
    names = {name: name.removeprefix("KAFKA_") for name in container.environment}
    return {
        names[name].lower().replace("_", "."): value
        for name, value in container.environment.items()
        if name.startswith("KAFKA_") and not names[name].startswith(ours)
    }


def open_to_all(directory: Path) -> None:
    """pytest's directories are their owner's alone; a container's user is somebody else."""
    for place in (directory, *directory.parents):
        if place.name.startswith("pytest-"):
            place.chmod(0o755)
    directory.chmod(0o755)
