"""The topics of a deployment: their keys, partitions and retention; `foryou topics` makes them.

The embedded log needs none of this: it makes a topic when it is first written and keeps all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service_kit.event_log import (
    TOPIC_ACTIONS,
    TOPIC_GRAPH,
    TOPIC_IN_NETWORK,
    TOPIC_POSTS,
    TOPIC_SERVED,
    dead_letter_topic,
)
from service_kit.kafka.admin import TopicState, ensure_kafka_topics
from service_kit.settings import ServiceSettings

PARTITIONS_DEFAULT = 12  # divides into 1, 2, 3, 4, 6 and 12 shares of authors
DAY_MS = 86_400_000
FOR_EVER = -1
# A record at RECORD_BYTES_MAX with its batch's header; Kafka's own default, but said here.
MESSAGE_BYTES_MAX = 1_048_588


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it is created. ``partitions``: None takes the deployment's number."""

    name: str
    key: str
    retention_ms: int
    partitions: int | None = None

    def kafka_config(self) -> dict[str, str]:
        """The topic's settings. Kafka stamps each event's arrival: retention then counts from
        there, so that a replay of old events is not removed at once, an event dated in the future
        is not refused, and neither can pin a segment for ever."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MESSAGE_BYTES_MAX),
        }


def _with_dead_letters(*topics: TopicSpec) -> tuple[TopicSpec, ...]:
    """Each topic and, beside it, the one where its unusable records are put aside."""
    dead = [
        TopicSpec(dead_letter_topic(t.name), "as the record's", 30 * DAY_MS, partitions=1)
        for t in topics
    ]
    return (*topics, *dead)


TOPICS = _with_dead_letters(
    # As long as any index or store keeps a post, so that each can be filled again from here.
    TopicSpec(TOPIC_POSTS, "author", 30 * DAY_MS),
    TopicSpec(TOPIC_ACTIONS, "user", 30 * DAY_MS),
    # A graph is the sum of all its edges: an old follow is as true as a new one.
    TopicSpec(TOPIC_GRAPH, "user", FOR_EVER),
    TopicSpec(TOPIC_SERVED, "viewer", 30 * DAY_MS),
    # Longer than thunder keeps posts (2 days), so that a replica without a snapshot is complete.
    TopicSpec(TOPIC_IN_NETWORK, "author", 4 * DAY_MS),
)


async def ensure_topics(
    settings: ServiceSettings,
    *,
    specs: Sequence[TopicSpec] = TOPICS,
    partitions: int = PARTITIONS_DEFAULT,
    replication_factor: int = 1,
    wait_s: float = 0.0,
) -> list[TopicState]:
    """Creates the deployment's topics that are missing in Kafka; changes nothing that exists.

    ``wait_s``: how long to try while Kafka does not answer. Raises LogUnavailableError after it,
    TopicError where Kafka refuses a topic, ValueError without brokers.
    """
    servers = settings.kafka_bootstrap_servers
    if not servers:
        raise ValueError(
            "no brokers: name them by --kafka-bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; the "
            "embedded log, used without them, makes its topics by itself"
        )
    return await ensure_kafka_topics(
        servers,
        specs,
        prefix=settings.kafka_topic_prefix,
        partitions=partitions,
        replication_factor=replication_factor,
        wait_s=wait_s,
    )
