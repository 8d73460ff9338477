"""A small demo run for the whole session, and the suite's real processes on what it left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from foryou.children import Child, Children
from foryou.waiting import until_serving
from home_mixer.client import AsyncHomeMixerClient, Feed, FeedError

DEMO_SECONDS_MAX = 420
READY_SECONDS_MAX = 120.0
RECOVERY_SECONDS_MAX = 90.0
FEED_SECONDS_MAX = 5.0
USERS, TRAIN_SECONDS = 400, 6


@dataclass(frozen=True)
class DemoRun:
    """What `foryou demo --headless --json` printed, and its directory."""

    data_dir: Path
    result: dict
    stdout: str


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """Minutes long: FORYOU_DEMO_DIR names a directory that keeps one between sessions."""
    kept = os.environ.get("FORYOU_DEMO_DIR")
    data_dir = Path(kept) if kept else tmp_path_factory.mktemp("demo") / "data"
    said = data_dir / "demo.json"
    if kept and said.exists():
        return DemoRun(data_dir, json.loads(said.read_text()), said.read_text())
    command = [
        *(sys.executable, "-m", "foryou.cli", "demo", "--headless", "--json"),
        *("--users", str(USERS), "--train-seconds", str(TRAIN_SECONDS)),
        *("--data-dir", str(data_dir)),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEMO_SECONDS_MAX)
    assert run.returncode == 0, run.stderr[-4_000:]
    said.write_text(run.stdout)
    return DemoRun(data_dir, json.loads(run.stdout), run.stdout)


@dataclass
class Suite:
    """Four running processes; each may be killed and started again at its own address."""

    data_dir: Path
    children: Children
    running: dict[str, Child] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)

    async def start(self, name: str, *flags: str) -> None:
        """Starts one service, at its former address if it had one."""
        port = self.addresses.get(name, "127.0.0.1:0").rsplit(":", 1)[1]
        child = await self.children.start(
            name, ["serve", name, "--data-dir", str(self.data_dir), "--grpc-port", port, *flags]
        )
        said = await child.first_json(READY_SECONDS_MAX)
        self.running[name], self.addresses[name] = child, said["grpc_address"]

    async def ready(self, name: str, service: str = "") -> None:
        await until_serving(self.running[name], self.addresses[name], READY_SECONDS_MAX, service)

    async def kill(self, name: str) -> None:
        """SIGKILL: nothing is said, nothing is flushed."""
        os.kill(self.running[name].pid, signal.SIGKILL)
        await self.running[name].ended()

    async def terminate(self, name: str) -> int:
        """SIGTERM; the exit code."""
        os.kill(self.running[name].pid, signal.SIGTERM)
        return await asyncio.wait_for(self.running[name].ended(), 20)

    def client(self) -> AsyncHomeMixerClient:
        return AsyncHomeMixerClient(self.addresses["home-mixer"], timeout_s=FEED_SECONDS_MAX)

    async def feed_when(self, viewer_id: int, wanted: Callable[[Feed], bool], why: str) -> Feed:
        """Asks until a feed is as wanted, or fails with the last one."""
        loop = asyncio.get_running_loop()
        end_s, last = loop.time() + RECOVERY_SECONDS_MAX, "nothing"
        async with self.client() as client:
            while loop.time() < end_s:
                try:
                    feed = await client.get_scored_posts(viewer_id)
                except FeedError as error:
                    last = str(error)
                else:
                    if wanted(feed):
                        return feed
                    last = f"{len(feed.posts)} posts, {feed.degraded_reasons}"
                await asyncio.sleep(0.2)
        raise AssertionError(f"expected a feed {why}; the last answer was {last}")


SuiteFactory = Callable[[Path], AbstractAsyncContextManager[Suite]]


@asynccontextmanager
async def running_suite(data_dir: Path) -> AsyncIterator[Suite]:
    async with Children(data_dir) as children:
        suite = Suite(data_dir, children)
        for name in ("thunder", "phoenix", "ingester"):
            await suite.start(name)
        await suite.start(
            "home-mixer",
            *("--thunder-address", suite.addresses["thunder"]),
            *("--phoenix-address", suite.addresses["phoenix"]),
        )
        yield suite


@pytest.fixture
def start_suite() -> SuiteFactory:
    return running_suite
