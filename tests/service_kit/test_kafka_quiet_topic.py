"""A topic with one event an hour must show it at once, not after a connection is made anew."""

from __future__ import annotations

import uuid

from service_kit.event_log import TOPIC_POSTS
from service_kit.kafka import source as kafka_source
from service_kit.kafka.link import LogMetrics
from service_kit.kafka.sink import KafkaSink
from service_kit.kafka.source import KafkaSource
from service_kit.metrics import Metrics
from service_kit.settings import ServiceSettings
from service_kit.topics import ensure_topics


async def test_an_event_after_a_long_silence_costs_no_connection(
    kafka_bootstrap_servers, monkeypatch
):
    """Found in the compose run: phoenix reconnected at the first post after half a minute."""
    monkeypatch.setattr(kafka_source, "SILENT_S_MAX", 0.2)
    prefix = f"quiet-{uuid.uuid4().hex}."
    settings = ServiceSettings(
        kafka_bootstrap_servers=kafka_bootstrap_servers, kafka_topic_prefix=prefix
    )
    await ensure_topics(settings, partitions=1)
    counted = LogMetrics.of(Metrics("quiet"))
    source = KafkaSource(kafka_bootstrap_servers, [TOPIC_POSTS], metrics=counted, prefix=prefix)
    sink = KafkaSink(kafka_bootstrap_servers, metrics=LogMetrics.of(Metrics("s")), prefix=prefix)
    try:
        assert await source.poll(10, 1.0) == []
        assert set((await source.end_offsets()).values()) == {0}
        await sink.append(TOPIC_POSTS, b"12345678", b"x", 1)
        assert set((await source.end_offsets()).values()) == {1}
        assert counted.reconnects._value.get() == 0
        records = []
        while not records:
            records = await source.poll(10, 5.0)
        assert [record.value for record in records] == [b"x"]
    finally:
        await source.close()
        await sink.close()
