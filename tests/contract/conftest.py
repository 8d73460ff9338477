"""Backends of the event log. Every test of the contract runs against each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import pytest

from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import EventSink, EventSource

Start = Literal["earliest", "latest", "committed"]


class LogBackend(Protocol):
    """What an implementation must be able to set up; a Kafka one joins ``BACKENDS`` below."""

    def sink(self, partitions: int = 1) -> EventSink: ...

    def source(
        self, topics: Sequence[str], group: str | None = None, start: Start = "earliest"
    ) -> EventSource: ...


class EmbeddedBackend:
    TOPICS = ("contract.a", "contract.b")

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def sink(self, partitions: int = 1) -> EventSink:
        counts = dict.fromkeys(self.TOPICS, partitions)
        return EmbeddedLogWriter(self._directory, partitions=counts)

    def source(
        self, topics: Sequence[str], group: str | None = None, start: Start = "earliest"
    ) -> EventSource:
        return EmbeddedLogSource(self._directory, topics, group=group, start=start)


BACKENDS = {"embedded": EmbeddedBackend}


@pytest.fixture(params=sorted(BACKENDS))
def log_backend(request: pytest.FixtureRequest, tmp_path: Path) -> LogBackend:
    return BACKENDS[request.param](tmp_path / "log")
