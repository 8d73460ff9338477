"""Real service processes by name: started, killed, paused, and started again where they were."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from foryou.children import Child, Children
from foryou.waiting import until_serving

READY_SECONDS_MAX = 180.0
END_SECONDS_MAX = 20.0  # a drain's ten seconds, its watchdog's two, and a busy machine


@dataclass
class Processes:
    """`foryou serve …` processes of one deployment; leave `children`'s block and all are gone."""

    data_dir: Path
    children: Children
    environment: dict[str, str] = field(default_factory=dict)
    running: dict[str, Child] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    _commands: dict[str, list[str]] = field(default_factory=dict)

    async def start(self, name: str, service: str, *flags: str) -> None:
        """Under a name of the test's own; returns once its address is known."""
        self._commands[name] = ["serve", service, "--data-dir", str(self.data_dir), *flags]
        await self.again(name)

    async def again(self, name: str) -> None:
        """The same command at the same address."""
        port = self.addresses.get(name, "127.0.0.1:0").rsplit(":", 1)[1]
        child = await self.children.start(
            name, [*self._commands[name], "--grpc-port", port], self.environment
        )
        said = await child.first_json(READY_SECONDS_MAX)
        self.running[name] = child
        self.addresses[name], self.metrics[name] = said["grpc_address"], said["metrics_address"]

    async def ready(self, name: str, service: str = "") -> None:
        await until_serving(self.running[name], self.addresses[name], READY_SECONDS_MAX, service)

    async def kill(self, name: str) -> None:
        """SIGKILL: nothing is said, nothing is flushed."""
        os.kill(self.running[name].pid, signal.SIGKILL)
        await self.running[name].ended()

    async def terminate(self, name: str) -> int:
        """SIGTERM; the exit code."""
        os.kill(self.running[name].pid, signal.SIGTERM)
        return await asyncio.wait_for(self.running[name].ended(), END_SECONDS_MAX)

    def pause(self, name: str) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.running[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        os.kill(self.running[name].pid, signal.SIGCONT)
