"""What processes spent meanwhile: processor time by kind of thread, from /proc; stages' own clocks.

A thread is the event loop's (the process's first) or of the kind that its name says; XLA names its
own, the services name theirs (`service_kit.interpreter.name_thread`). The kernel counts a thread's
time in nanoseconds.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from prometheus_client.parser import text_string_to_metric_families

COMPONENT_SECONDS = "foryou_home_mixer_component_seconds_sum"
STAGE_CPU_SECONDS = "foryou_home_mixer_stage_cpu_seconds_total"
SCRAPE_TIMEOUT_S = 10.0

# Beginning of a thread's name → kind.
XLA, MODEL, SEARCH = "XLA threads", "model's thread", "search threads"
KINDS: Final = {
    "tf_": XLA,
    "XLA": XLA,
    "pool": XLA,
    "phoenix-load": XLA,  # XLA's unnamed threads bear the name of the one that loaded a model
    "phoenix-layers": XLA,  # the ranker's own kernels
    "phoenix-model": MODEL,
    "phoenix-search": SEARCH,
    "index-scan": SEARCH,
    "message": "message threads",
    "store-": "store threads",
    "event_engine": "gRPC threads",
}
OTHER = "other threads"

Seconds = dict[str, float]


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one span: processor seconds by "process: kind of thread", of home_mixer's event loop by
    stage; seconds by component."""

    span_s: float
    processor_s: Counter[str]
    component_s: Seconds = field(default_factory=dict)
    stage_cpu_s: Seconds = field(default_factory=dict)

    @classmethod
    async def over(
        cls, processes: Mapping[str, int], what: Awaitable[object], metrics: str | None = None
    ) -> Self:
        """Awaits `what` and says what the processes (name → pid) spent on it.

        metrics: host:port of home_mixer's metrics, for its components' and stages' clocks.
        """
        components, stages = await asyncio.to_thread(own_clocks, metrics)
        started_s, before = time.monotonic(), processor_seconds(processes)
        await what
        span_s, after = time.monotonic() - started_s, processor_seconds(processes)
        components_after, stages_after = await asyncio.to_thread(own_clocks, metrics)
        after.subtract(before)
        return cls(span_s, after, _less(components_after, components), _less(stages_after, stages))

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
        return _per_feed_ms(self.component_s, feeds)

    def stages_ms(self, feeds: int) -> dict[str, float]:
        """CPU-milliseconds of home_mixer's event loop by stage, largest first.

        What a stage's calls into gRPC and threads cost the loop is its own; feeds must have come
        one at a time.
        """
        return _per_feed_ms(self.stage_cpu_s, feeds)


def processor_seconds(processes: Mapping[str, int]) -> Counter[str]:
    """ "process: kind of thread" → seconds of all its threads so far."""
    spent: Counter[str] = Counter()
    for name, pid in processes.items():
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                nanoseconds = int((task / "schedstat").read_text().split()[0])
                comm = (task / "comm").read_text().strip()
            except OSError:
                continue  # the thread ended meanwhile
            spent[f"{name}: {_kind(int(task.name) == pid, comm)}"] += nanoseconds
    return Counter({name: nanoseconds / 1e9 for name, nanoseconds in spent.items()})


def own_clocks(metrics: str | None) -> tuple[Seconds, Seconds]:
    """By component and by stage, seconds so far, as home_mixer's metrics say."""
    components: Seconds = {}
    stages: Seconds = {}
    if metrics is None:
        return components, stages
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=SCRAPE_TIMEOUT_S) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == COMPONENT_SECONDS:
                components[sample.labels["component"]] = sample.value
            if sample.name == STAGE_CPU_SECONDS:
                stages[sample.labels["stage"]] = sample.value
    return components, stages


def _less(after: Seconds, before: Seconds) -> Seconds:
    return {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}


def _per_feed_ms(seconds: Mapping[str, float], feeds: int) -> dict[str, float]:
    every = {name: one * 1e3 / feeds for name, one in seconds.items()}
    return dict(sorted(every.items(), key=lambda one: -one[1]))


def _kind(is_first: bool, comm: str) -> str:
    if is_first:
        return "event loop"
    return next((kind for begin, kind in KINDS.items() if comm.startswith(begin)), OTHER)
