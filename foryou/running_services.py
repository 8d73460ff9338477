"""A suite that runs already, in containers or elsewhere: the demo loads it, waits and asks.

Whether it has read what was loaded is read off its own metrics: each consumer tells how many
events it has yet to handle and when it measured that. thunder reads what its feeder writes, so
the question is asked twice: what the first stage wrote while it caught up, the second may not have.
"""

from __future__ import annotations

import asyncio
import http.client
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from foryou.errors import CommandError, UsageError
from foryou.local_services import PHOENIX_SERVICES, SWAP_SECONDS_MAX
from foryou.phases import Phases
from foryou.settings import CommandSettings, deployment
from foryou.waiting import until_serving
from service_kit.event_log import (
    TOPIC_ACTIONS,
    TOPIC_GRAPH,
    TOPIC_POSTS,
    LogUnavailableError,
    TopicError,
)
from service_kit.event_logs import open_source

CATCH_UP_SECONDS_MAX = 600.0  # for a large world on a small machine
STAGES = 2  # feeder, then thunder
POLL_SECONDS = 0.5
SCRAPE_SECONDS_MAX = 5.0
LAG = "_consumer_lag_records"
MEASURED = "_consumer_lag_measured_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the suite runs. `metrics`: host:port of every service that reads events."""

    home_mixer: str
    phoenix: str
    metrics: Sequence[str]


class RunningServices:
    """What `foryou demo --running` waits for; it starts and ends nothing."""

    def __init__(self, data_dir: Path, addresses: Addresses, phases: Phases) -> None:
        """`data_dir`: where phoenix looks for its checkpoints, too."""
        self._data_dir, self._addresses, self._phases = data_dir, addresses, phases
        self.environment: Mapping[str, str] = {}  # trainings read the events that services read

    async def prepare(self) -> CommandSettings:
        """Where the events go; UsageError when there are events already."""
        settings = deployment(self._data_dir)
        source = await open_source(settings, (TOPIC_POSTS, TOPIC_GRAPH, TOPIC_ACTIONS))
        try:
            held = sum((await source.end_offsets()).values())
        except (LogUnavailableError, TopicError) as error:
            raise CommandError(str(error)) from error
        finally:
            await source.close()
        if held:
            raise UsageError(
                f"the topics hold {held} events already and the demo's world wants empty ones; "
                "`docker compose --profile demo down --volumes` empties them, "
                "`foryou feed VIEWER` asks for a feed of what is there"
            )
        return settings

    async def caught_up(self) -> Mapping[str, str]:
        """Returns the addresses when every consumer has handled all events of the time of call."""
        with self._phases.phase("ingest", "all services catch up with the events"):
            end_s = time.monotonic() + CATCH_UP_SECONDS_MAX
            for _ in range(STAGES):
                since_s = time.time()
                for address in self._addresses.metrics:
                    await _until_caught_up(address, since_s, end_s)
            left_s = max(end_s - time.monotonic(), 1.0)
            await until_serving(None, self._addresses.home_mixer, left_s)
        return {"home-mixer": self._addresses.home_mixer, "phoenix": self._addresses.phoenix}

    async def swapped(self) -> None:
        """Returns once phoenix serves both models."""
        for service in PHOENIX_SERVICES:
            await until_serving(None, self._addresses.phoenix, SWAP_SECONDS_MAX, service)


async def _until_caught_up(address: str, since_s: float, end_s: float) -> None:
    problem = ""
    while time.monotonic() < end_s:
        try:
            text = await asyncio.to_thread(_scrape, address)
        except (OSError, http.client.HTTPException) as error:
            problem = f"its metrics cannot be read: {error}"
        else:
            problem = behind(text, since_s)
            if not problem:
                return
        await asyncio.sleep(POLL_SECONDS)
    raise CommandError(
        f"the service with its metrics at {address} did not catch up with the events within "
        f"{CATCH_UP_SECONDS_MAX:.0f} s: {problem}"
    )


def _scrape(address: str) -> str:
    url = f"http://{address}/metrics"
    with urllib.request.urlopen(url, timeout=SCRAPE_SECONDS_MAX) as answer:
        return str(answer.read().decode())


def behind(exposition: str, since_s: float) -> str:
    """Why the consumers of one process are not known to be caught up; empty when they are.

    `since_s`: unix seconds; an older measurement says nothing of what was written since.
    """
    lag, measured = _samples(exposition, LAG), _samples(exposition, MEASURED)
    if not measured:
        return "it has no consumer yet"
    if min(sample.value for sample in measured) < since_s:
        return "its lag was not measured since the events were written"
    left = int(sum(sample.value for sample in lag))
    return f"{left} events to go" if left else ""


def _samples(exposition: str, suffix: str) -> list[Sample]:
    return [
        sample
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name.endswith(suffix)
    ]
