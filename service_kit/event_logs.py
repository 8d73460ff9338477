"""Opens the event log that a deployment runs on: Kafka where brokers are named, else a directory.

Everything that appends to or follows topics goes through these functions, so that no service
knows which of the two it runs on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service_kit.embedded_log import EmbeddedLogSource, EmbeddedLogWriter
from service_kit.event_log import EventSink, EventSource, Start, records_until_now
from service_kit.kafka.link import LogMetrics
from service_kit.kafka.sink import KafkaSink
from service_kit.kafka.source import KafkaSource
from service_kit.metrics import Metrics
from service_kit.settings import ServiceSettings

__all__ = ["open_sink", "open_source", "records_until_now"]


async def open_sink(
    settings: ServiceSettings,
    *,
    partitions: Mapping[str, int] | None = None,
    metrics: Metrics | None = None,
) -> EventSink:
    """Where the deployment's events go.

    ``partitions``: how many a topic of the embedded log gets when first written; a Kafka topic
    has those that it was created with. ``metrics``: the service's; outages are counted there.
    """
    if not settings.kafka_bootstrap_servers:
        return EmbeddedLogWriter(settings.log_dir, partitions=partitions)
    return KafkaSink(
        settings.kafka_bootstrap_servers,
        metrics=LogMetrics.of(metrics or Metrics("unnamed")),
        prefix=settings.kafka_topic_prefix,
    )


async def open_source(
    settings: ServiceSettings,
    topics: Sequence[str],
    *,
    group: str | None = None,
    start: Start = "earliest",
    share: tuple[int, int] = (0, 1),
    metrics: Metrics | None = None,
) -> EventSource:
    """A follower of ``topics``. Kafka may be away or lack the topics: it is followed once it is
    there, and ``end_offsets`` says what is wrong.

    ``share`` (i, n): only partitions p with p % n == i. ``start``: where the partitions that
    exist now begin; ``committed`` needs a ``group``, falls back to the earliest record where it
    has committed nothing, and on Kafka shares the partitions out among the group's members
    (without a ``share``). ``metrics``: the service's; outages and gaps are counted there.
    """
    if not settings.kafka_bootstrap_servers:
        return EmbeddedLogSource(settings.log_dir, topics, group=group, start=start, share=share)
    source = KafkaSource(
        settings.kafka_bootstrap_servers,
        topics,
        metrics=LogMetrics.of(metrics or Metrics("unnamed")),
        prefix=settings.kafka_topic_prefix,
        group=settings.kafka_topic_prefix + group if group else None,  # as the topics are
        start=start,
        share=share,
    )
    await source.open()
    return source
