"""Parts that the tests of the consumer and the server share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service_kit.clock import SystemClock
from service_kit.consumer import Consumer, ConsumerOptions
from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness

QUICK = ConsumerOptions(
    flush_interval_s=0.001,
    poll_timeout_s=0.005,
    backoff_s_min=0.001,
    backoff_s_max=0.002,
    lag_interval_s=0.0,
    commit_interval_s=0.0,
)


class Bench:
    """A log in a directory, and consumers of its topic "events"."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer = EmbeddedLogWriter(directory, partitions={"events": 3})
        self.metrics = Metrics("test")
        self.readiness = Readiness()

    def write(self, *values: bytes) -> None:
        self.writer.append_many_sync("events", [(v, v, 7) for v in values])

    def source(self, topic: str = "events", **options: Any) -> EmbeddedLogSource:
        return EmbeddedLogSource(self.directory, [topic], **options)

    def consumer(
        self,
        handler: Any,
        *,
        options: ConsumerOptions = QUICK,
        source: Any = None,
        **others: Any,
    ) -> Consumer:
        return Consumer(
            source or self.source(),
            handler,
            name="events",
            clock=SystemClock(),
            metrics=self.metrics,
            readiness=self.readiness,
            ready_as="svc",
            dead_letters=self.writer,
            options=options,
            **others,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "log")


@pytest.fixture
def quick() -> ConsumerOptions:
    return QUICK
