"""What processes spent meanwhile: processor time by kind of thread, from /proc; stages' own clocks.

A thread is the event loop's (the process's first), one of XLA's, or another (gRPC's, workers'). The
kernel counts in hundredths of a second, so a span must hold many feeds.
"""

from __future__ import annotations

import asyncio
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
COMPONENT_SECONDS = "foryou_home_mixer_component_seconds_sum"
SCRAPE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one span: processor seconds by "process: kind of thread", seconds by component."""

    span_s: float
    processor_s: Counter[str]
    component_s: Counter[str] = field(default_factory=Counter)

    @classmethod
    async def over(
        cls, processes: Mapping[str, int], what: Awaitable[object], metrics: str | None = None
    ) -> Self:
        """Awaits `what` and says what the processes (name → pid) spent on it.

        metrics: host:port of home_mixer's metrics, for its components' clocks.
        """
        started_s, before = time.monotonic(), processor_seconds(processes)
        components = await asyncio.to_thread(component_seconds, metrics)
        await what
        span_s, after = time.monotonic() - started_s, processor_seconds(processes)
        components_after = await asyncio.to_thread(component_seconds, metrics)
        after.subtract(before)
        components_after.subtract(components)
        return cls(span_s, after, components_after)

    def per_feed_ms(self, feeds: int, idle: Costs) -> dict[str, float]:
        """CPU-milliseconds of one feed, less what the processes spend when nobody asks."""
        return {
            name: max(0.0, seconds - idle.processor_s[name] * self.span_s / idle.span_s)
            * 1e3
            / feeds
            for name, seconds in sorted(self.processor_s.items())
        }

    def components_ms(self, feeds: int) -> dict[str, float]:
        """Wall milliseconds of home_mixer's components a feed, longest first; waits included."""
        every = {name: seconds * 1e3 / feeds for name, seconds in self.component_s.items()}
        return dict(sorted(every.items(), key=lambda one: -one[1]))


def processor_seconds(processes: Mapping[str, int]) -> Counter[str]:
    """ "process: kind of thread" → seconds of all its threads so far."""
    spent: Counter[str] = Counter()
    for name, pid in processes.items():
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                stat = (task / "stat").read_text()
            except OSError:
                continue  # the thread ended meanwhile
            comm = stat[stat.index("(") + 1 : stat.rindex(")")]
            fields = stat[stat.rindex(")") + 2 :].split()
            ticks = int(fields[11]) + int(fields[12])  # user and system time
            spent[f"{name}: {_kind(int(task.name) == pid, comm)}"] += ticks
    return Counter({name: ticks / TICKS_PER_S for name, ticks in spent.items()})


def component_seconds(metrics: str | None) -> Counter[str]:
    """Component → seconds that its runs took so far."""
    if metrics is None:
        return Counter()
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=SCRAPE_TIMEOUT_S) as answer:
        text = answer.read().decode()
    return Counter(
        {
            sample.labels["component"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == COMPONENT_SECONDS
        }
    )


def _kind(is_first: bool, comm: str) -> str:
    if is_first:
        return "event loop"
    return "XLA threads" if comm.startswith(("tf_", "XLA", "pool")) else "other threads"
