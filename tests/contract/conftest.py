"""Backends of the event log. Every test of the contract runs against each of them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from service_kit.event_log import EventSink, EventSource, Start
from service_kit.event_logs import open_sink, open_source
from service_kit.kafka.admin import ensure_kafka_topics
from service_kit.settings import ServiceSettings
from service_kit.topics import DAY_MS, TopicSpec

CONTRACT_TOPICS = ("contract.a", "contract.b")


class LogBackend(Protocol):
    """What an implementation must be able to set up."""

    stamps_arrival: bool  # a record's time is when the log took it

    async def sink(self, partitions: int = 1) -> EventSink:
        """A sink of topics that exist from then on, with so many partitions each."""
        ...

    async def source(
        self,
        topics: Sequence[str],
        group: str | None = None,
        start: Start = "earliest",
        share: tuple[int, int] = (0, 1),
    ) -> EventSource: ...

    async def close(self) -> None: ...


class Opened:
    """Remembers what was opened, for the end of the test."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self._opened: list[Any] = []

    async def source(
        self,
        topics: Sequence[str],
        group: str | None = None,
        start: Start = "earliest",
        share: tuple[int, int] = (0, 1),
    ) -> EventSource:
        return self.kept(
            await open_source(self.settings, topics, group=group, start=start, share=share)
        )

    def kept(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened

    async def close(self) -> None:
        for item in self._opened:
            with suppress(RuntimeError):  # closed in the test
                await item.close()


class EmbeddedBackend(Opened):
    stamps_arrival = False

    async def sink(self, partitions: int = 1) -> EventSink:
        counts = dict.fromkeys(CONTRACT_TOPICS, partitions)
        return self.kept(await open_sink(self.settings, partitions=counts))


class KafkaBackend(Opened):
    stamps_arrival = True

    async def sink(self, partitions: int = 1) -> EventSink:
        await ensure_kafka_topics(
            self.settings.kafka_bootstrap_servers,
            [TopicSpec(name, "any", DAY_MS) for name in CONTRACT_TOPICS],
            prefix=self.settings.kafka_topic_prefix,
            partitions=partitions,
            replication_factor=1,
            wait_s=30,
        )
        return self.kept(await open_sink(self.settings))


@pytest.fixture(params=["embedded", "kafka"])
async def log_backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LogBackend]:
    backend: LogBackend
    if request.param == "embedded":
        backend = EmbeddedBackend(ServiceSettings(data_dir=tmp_path))
    else:
        servers = request.getfixturevalue("kafka_bootstrap_servers")
        prefix = f"c{uuid.uuid4().hex[:8]}."
        backend = KafkaBackend(
            ServiceSettings(
                data_dir=tmp_path, kafka_bootstrap_servers=servers, kafka_topic_prefix=prefix
            )
        )
    yield backend
    await backend.close()
