"""The suite as children of one command: every service a process, a directory for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foryou.children import Child, Children
from foryou.errors import UsageError
from foryou.phases import Phases
from foryou.settings import CommandSettings, deployment
from foryou.waiting import until_serving

START_SECONDS_MAX = 60.0  # until a process tells its address; imports and nothing else
CATCH_UP_SECONDS_MAX = 180.0  # until the log is ingested, on a slow machine
SWAP_SECONDS_MAX = 300.0  # until a checkpoint is loaded and its programs are compiled
PHOENIX_SERVICES = ("foryou.phoenix.v1.PredictionService", "foryou.phoenix.v1.RetrievalService")
# Children never use a Kafka or Redis that the terminal's environment happens to name.
EMBEDDED = {"KAFKA_BOOTSTRAP_SERVERS": "", "REDIS_URL": ""}


@dataclass(frozen=True, slots=True)
class _Service:
    child: Child
    address: str


class LocalServices:
    """Starts what it is asked for; `Children` ends it all."""

    def __init__(self, data_dir: Path, children: Children, phases: Phases) -> None:
        self._children, self._phases = children, phases
        self._data_dir = data_dir
        self._services: dict[str, _Service] = {}
        self.environment: Mapping[str, str] = EMBEDDED

    async def prepare(self) -> CommandSettings:
        """Where the events go; UsageError for a directory that is in use."""
        settings = deployment(self._data_dir, kafka=False)
        if settings.log_dir.exists():
            raise UsageError(
                f"--data-dir {self._data_dir} already holds an event log; choose an empty directory"
            )
        return settings

    async def caught_up(self) -> Mapping[str, str]:
        """Starts all services; returns their addresses when all have read the log. Phoenix need
        not serve: it has no models yet."""
        with self._phases.phase("start", "starting thunder, phoenix, the ingester and home_mixer"):
            await self._start()
        with self._phases.phase("ingest", "thunder and the ingester catch up with the log"):
            for name in ("thunder", "ingester", "home-mixer"):
                await self._ready(name, "", CATCH_UP_SECONDS_MAX)
        return {name: service.address for name, service in self._services.items()}

    async def swapped(self) -> None:
        """Returns once phoenix serves both models."""
        for service in PHOENIX_SERVICES:
            await self._ready("phoenix", service, SWAP_SECONDS_MAX)

    async def _start(self) -> None:
        """home_mixer comes last, for it is told where the others listen."""
        common = ["--data-dir", str(self._data_dir), "--grpc-port", "0"]
        started = {
            name: await self._children.start(name, ["serve", name, *common], dict(EMBEDDED))
            for name in ("thunder", "phoenix", "ingester")
        }
        self._services = {name: await _announced(child) for name, child in started.items()}
        mixer = await self._children.start(
            "home-mixer",
            [
                *("serve", "home-mixer", *common),
                *("--thunder-address", self._services["thunder"].address),
                *("--phoenix-address", self._services["phoenix"].address),
                *("--served-features-every", "1"),  # few feeds, and all can be checked
            ],
            dict(EMBEDDED),
        )
        self._services["home-mixer"] = await _announced(mixer)

    async def _ready(self, name: str, grpc_service: str, timeout_s: float) -> None:
        service = self._services[name]
        await until_serving(service.child, service.address, timeout_s, grpc_service)


async def _announced(child: Child) -> _Service:
    """A server says where it listens in its first line of standard output."""
    said = await child.first_json(START_SECONDS_MAX)
    address = said.get("grpc_address")
    if not isinstance(address, str):
        raise child.failed(f"announced {said} without a grpc_address")
    return _Service(child, address)
