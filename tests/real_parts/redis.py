"""Redis for tests: Debian's `redis-server` on a free port of 127.0.0.1, in memory alone.

A server may be stopped, killed, paused and started again at its own address. `cluster` starts
three masters that share the slots, for what must also hold on Redis Cluster.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from real_parts.kafka import free_ports
from real_parts.server import Server

HOW_TO_GET_IT = (
    "needs redis-server on the PATH (Debian: apt-get install redis-server), or REDIS_URL of a "
    "running one whose database may be emptied"
)
START_SECONDS_MAX = 20.0


def available() -> bool:
    return shutil.which("redis-server") is not None


class RedisServer(Server):
    """One server; `with RedisServer(directory) as redis:` uses `redis.url`."""

    def __init__(self, directory: Path, *flags: str) -> None:
        super().__init__()
        self.port = free_ports(1)[0]
        self.directory = directory
        self._flags = flags

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / f"redis-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port)),
                    *("--save", "", "--appendonly", "no", "--dir", str(self.directory)),
                    *("--daemonize", "no", *self._flags),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end_s = time.monotonic() + START_SECONDS_MAX
        while self.command("PING").strip() != "PONG":
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < end_s, "redis-server does not answer"
            time.sleep(0.02)

    def command(self, *words: str) -> str:
        """What `redis-cli` prints."""
        cli = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *words]
        return subprocess.run(cli, capture_output=True, text=True, timeout=30).stdout

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class RedisCluster:
    """Three masters; `url` names the first, clients find the others."""

    def __init__(self, directory: Path) -> None:
        self.servers = []
        for number in range(3):
            flags = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            server = RedisServer(directory / str(number), *flags)
            # The bus usually listens at port + 10000, which may not be a port at all.
            server._flags = (*flags, "--cluster-port", str(free_ports(1)[0]))
            self.servers.append(server)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.servers[0].port}"

    def __enter__(self) -> RedisCluster:
        for server in self.servers:
            server.start()
        addresses = [f"127.0.0.1:{server.port}" for server in self.servers]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        run = subprocess.run(create, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stdout + run.stderr
        end_s = time.monotonic() + START_SECONDS_MAX
        while not all(
            "cluster_state:ok" in server.command("CLUSTER", "INFO") for server in self.servers
        ):
            assert time.monotonic() < end_s, "the cluster does not agree"
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()
