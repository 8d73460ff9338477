"""Prometheus metrics of one service under the prefix ``foryou_<service>_``.

A registry of its own per ``Metrics``: nothing global, so tests and processes never collide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SERVICE_NAME = re.compile(r"[a-z][a-z0-9_]*")
Group = TypeVar("Group")
LATENCY_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip  # from a store's half millisecond to a request given up
SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5)


class Metrics:
    """Makes counters, gauges and histograms; asking twice for one name is a ValueError."""

    def __init__(self, service: str, registry: CollectorRegistry | None = None) -> None:
        """``service``: lower-case words joined by "_"; '-' becomes '_'."""
        self.service = service.replace("-", "_")
        if not SERVICE_NAME.fullmatch(self.service):
            raise ValueError(f"service {service!r}: expected lower-case letters, digits and '_'")
        self.registry = registry or CollectorRegistry()
        self._prefix = f"foryou_{self.service}_"
        self._groups: dict[str, Any] = {}

    def counter(self, name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
        """Only rises; ``name`` ends in _total."""
        return Counter(self._prefix + name, doc, labels, registry=self.registry)

    def gauge(self, name: str, doc: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(self._prefix + name, doc, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        doc: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_SECONDS,
    ) -> Histogram:
        return Histogram(self._prefix + name, doc, labels, registry=self.registry, buckets=buckets)

    def once(self, group: str, make: Callable[[Metrics], Group]) -> Group:
        """A group of metrics that several objects share: made at the first call, then kept."""
        if group not in self._groups:
            self._groups[group] = make(self)
        return cast(Group, self._groups[group])

    def watch_process(self) -> None:
        """Adds the process's memory, CPU and file descriptors (``process_…``)."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def value(self, name: str, **labels: str) -> float:
        """Current value of one sample by its name without the prefix; 0 before its first use."""
        return self.registry.get_sample_value(self._prefix + name, labels) or 0.0

    def exposition(self) -> bytes:
        """The page that Prometheus scrapes."""
        return generate_latest(self.registry)
