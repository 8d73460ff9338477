"""Opens the event log that a deployment runs on: Kafka where brokers are named, else a directory.

Everything that appends to or follows topics goes through these two functions, so that no service
knows which of the two it runs on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import EventSink, EventSource, Start
from service_kit.settings import ServiceSettings


async def open_sink(
    settings: ServiceSettings, *, partitions: Mapping[str, int] | None = None
) -> EventSink:
    """Where the deployment's events go.

    ``partitions``: how many a topic of the embedded log gets when first written; a Kafka topic
    has those that it was created with.
    """
    return EmbeddedLogWriter(settings.log_dir, partitions=partitions)


async def open_source(
    settings: ServiceSettings,
    topics: Sequence[str],
    *,
    group: str | None = None,
    start: Start = "earliest",
    share: tuple[int, int] = (0, 1),
) -> EventSource:
    """A follower of ``topics``.

    ``share`` (i, n): only partitions p with p % n == i. ``group`` and ``start`` as in
    ``EmbeddedLogSource``.
    """
    return EmbeddedLogSource(settings.log_dir, topics, group=group, start=start)
