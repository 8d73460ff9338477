"""When who dies: a schedule by seed, and its execution beside the production of events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np

from benchmarks.replay.services import Service

logger = logging.getLogger(__name__)
DOWN_S_MAX = 3.0  # how long what was killed stays away at most
BROKER_DOWN_S_MAX = 6.0
EARLIEST, LATEST = 0.03, 1.05  # parts of the production's time; past 1 they are still catching up
BROKER = "broker"
How = Literal["kill", "stop"]


class Broker(Protocol):
    """A broker that may be ended and started again at its own address."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Blow(NamedTuple):
    """One fault: at which part of the production, on whom, how, and for how long it stays away."""

    at: float
    target: str
    how: How
    down_s: float


@dataclass(slots=True)
class Damage:
    """What was done."""

    kills: dict[str, int] = field(default_factory=dict)
    while_broker_away: int = 0
    broker_kills: int = 0
    broker_stops: int = 0


def schedule(names: Sequence[str], seed: int, *, kills: int, broker_restarts: int) -> list[Blow]:
    """Each of ``names`` is killed ``kills`` times; the broker is killed and stopped in turn, and
    somebody is killed while it is away."""
    rng = np.random.default_rng(seed)
    blows = [
        Blow(float(at), name, "kill", float(rng.uniform(0, DOWN_S_MAX)))
        for name in names
        for at in rng.uniform(EARLIEST, LATEST, kills)
    ]
    for number in range(broker_restarts):
        at, down_s = float(rng.uniform(EARLIEST, 0.95)), float(rng.uniform(2, BROKER_DOWN_S_MAX))
        blows.append(Blow(at, BROKER, "stop" if number % 2 else "kill", down_s))
        victim = str(rng.choice(list(names)))
        blows.append(Blow(at + 0.01, victim, "kill", float(rng.uniform(0, DOWN_S_MAX))))
    return sorted(blows)


class Chaos:
    """Deals the blows; `run` returns once everything that was struck runs again."""

    def __init__(
        self,
        services: Sequence[Service],
        restart: Callable[[Service], Awaitable[None]],
        broker: Broker | None,
    ) -> None:
        self._services = {service.name: service for service in services}
        self._restart = restart
        self._broker = broker
        self._turns = {name: asyncio.Lock() for name in (*self._services, BROKER)}
        self.damage = Damage()

    async def run(self, blows: Sequence[Blow], production_s: float) -> None:
        """Blows are dealt at their parts of ``production_s``; one target takes them in turn."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()

        async def deal(blow: Blow) -> None:
            await asyncio.sleep(max(0.0, started_s + blow.at * production_s - loop.time()))
            async with self._turns[blow.target]:
                if blow.target == BROKER:
                    await self._strike_broker(blow)
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

    async def _strike_broker(self, blow: Blow) -> None:
        assert self._broker is not None, "no broker to strike"
        logger.info("%s the broker for %.1f s", blow.how, blow.down_s)
        if blow.how == "kill":
            await asyncio.to_thread(self._broker.kill)
            self.damage.broker_kills += 1
        else:
            await asyncio.to_thread(self._broker.stop)
            self.damage.broker_stops += 1
        await asyncio.sleep(blow.down_s)
        logger.info("the broker starts")
        await asyncio.to_thread(self._broker.start)
        logger.info("the broker is back")
