"""When who dies: a schedule by seed, and its execution beside the production of events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np

from benchmarks.replay.services import Service

logger = logging.getLogger(__name__)
DOWN_S_MAX = 3.0  # how long what was killed stays away at most
BROKER_DOWN_S_MAX = 6.0
EARLIEST, LATEST = 0.03, 0.999  # parts of the production; near its end they still catch up
PROGRESS_POLL_S = 0.05
BROKER, REDIS = "broker", "redis"  # Redis keeps nothing on disk here: killed, it comes back empty
How = Literal["kill", "stop"]


class Server(Protocol):
    """A broker or a Redis that may be ended and started again at its own address."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Blow(NamedTuple):
    """One fault: at which part of the production, on whom, how, for how long it stays away, and
    which consumer is killed meanwhile."""

    at: float
    target: str
    how: How
    down_s: float
    meanwhile: str = ""


@dataclass(slots=True)
class Damage:
    """What was done."""

    kills: dict[str, int] = field(default_factory=dict)
    servers: dict[str, int] = field(default_factory=dict)  # "broker stop" → how often
    while_broker_away: int = 0


def schedule(
    names: Sequence[str], seed: int, *, kills: int, broker_restarts: int, redis_losses: int
) -> list[Blow]:
    """Each of ``names`` is killed ``kills`` times; the broker is killed and stopped in turn, and
    somebody is killed while it is away; Redis is killed and comes back empty."""
    rng = np.random.default_rng(seed)
    blows = [
        Blow(float(at), name, "kill", float(rng.uniform(0, DOWN_S_MAX)))
        for name in names
        for at in rng.uniform(EARLIEST, LATEST, kills)
    ]
    for number in range(broker_restarts):
        at, down_s = float(rng.uniform(EARLIEST, 0.95)), float(rng.uniform(2, BROKER_DOWN_S_MAX))
        victim = str(rng.choice(list(names)))
        blows.append(Blow(at, BROKER, "stop" if number % 2 else "kill", down_s, victim))
    for _ in range(redis_losses):
        at, down_s = float(rng.uniform(0.3, 0.95)), float(rng.uniform(0, DOWN_S_MAX))
        blows.append(Blow(at, REDIS, "kill", down_s))
    return sorted(blows)


class Chaos:
    """Deals the blows; `run` returns once everything that was struck runs again."""

    def __init__(
        self,
        services: Sequence[Service],
        restart: Callable[[Service], Awaitable[None]],
        servers: Mapping[str, Server],
    ) -> None:
        self._services = {service.name: service for service in services}
        self._restart = restart
        self._servers = dict(servers)
        self._turns = {name: asyncio.Lock() for name in (*self._services, BROKER, REDIS)}
        self.damage = Damage()

    async def run(self, blows: Sequence[Blow], progress: Callable[[], float]) -> None:
        """Blows are dealt when ``progress`` (0 to 1) is there; one target takes them in turn."""

        async def deal(blow: Blow) -> None:
            while progress() < blow.at:  # noqa: ASYNC110 - it is a number, nobody tells its change
                await asyncio.sleep(PROGRESS_POLL_S)
            async with self._turns[blow.target]:
                if blow.target in self._servers:
                    await self._strike_server(self._servers[blow.target], blow)
                else:
                    await self._strike(self._services[blow.target], blow)

        await asyncio.gather(*(deal(blow) for blow in blows))

    async def _strike(self, service: Service, blow: Blow) -> None:
        logger.info("kill %s", service.name)
        await service.kill()
        kills = self.damage.kills
        kills[service.name] = kills.get(service.name, 0) + 1
        self.damage.while_broker_away += self._turns[BROKER].locked()
        await asyncio.sleep(blow.down_s)
        await self._restart(service)

    async def _strike_server(self, server: Server, blow: Blow) -> None:
        logger.info("%s %s for %.1f s", blow.how, blow.target, blow.down_s)
        await asyncio.to_thread(server.kill if blow.how == "kill" else server.stop)
        what = f"{blow.target} {blow.how}"
        self.damage.servers[what] = self.damage.servers.get(what, 0) + 1
        await asyncio.sleep(blow.down_s)
        if blow.meanwhile:
            victim = Blow(blow.at, blow.meanwhile, "kill", 0.0)
            async with self._turns[victim.target]:
                await self._strike(self._services[victim.target], victim)
        await asyncio.to_thread(server.start)
        logger.info("%s is back", blow.target)
