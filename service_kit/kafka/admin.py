"""Creates topics in Kafka and says what there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from service_kit.event_log import LogUnavailableError, TopicError
from service_kit.kafka.link import REQUEST_MS, quiet_client_logs

if TYPE_CHECKING:  # it uses this module
    from service_kit.topics import TopicSpec

RETRY_S = 0.5
SETTLE_S_MAX = 15.0  # from a topic's creation until every broker knows it and its leaders


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is. ``created``: by this call."""

    name: str
    partitions: int
    created: bool


async def ensure_kafka_topics(
    servers: str,
    specs: Sequence[TopicSpec],
    *,
    prefix: str,
    partitions: int,
    replication_factor: int,
    wait_s: float,
) -> list[TopicState]:
    """Creates what is missing of ``specs`` and changes nothing that exists; in their order.

    ``wait_s``: how long to try while Kafka does not answer; LogUnavailableError after it.
    TopicError where Kafka refuses a topic.
    """
    quiet_client_logs()
    loop = asyncio.get_running_loop()
    end_s = loop.time() + wait_s
    while True:
        try:
            async with _connected(servers) as admin:
                before = await _counts(admin)
                missing = [spec for spec in specs if prefix + spec.name not in before]
                await _create(admin, missing, prefix, partitions, replication_factor)
                after = await _settled(admin, [prefix + spec.name for spec in specs])
                break
        except (KafkaError, OSError) as error:
            if loop.time() >= end_s:
                raise LogUnavailableError(
                    f"Kafka at {servers} does not answer ({type(error).__name__}: {error}); is it "
                    "running, and are these its addresses?"
                ) from error
        await asyncio.sleep(RETRY_S)
    names = [prefix + spec.name for spec in specs]
    return [TopicState(name, after[name], name not in before) for name in names]


@asynccontextmanager
async def _connected(servers: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, request_timeout_ms=REQUEST_MS)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _counts(admin: Any) -> dict[str, int]:
    """Partitions by topic, as the brokers say."""
    found = await admin.describe_topics()
    return {topic["topic"]: len(topic["partitions"]) for topic in found if not topic["error_code"]}


async def _settled(admin: Any, names: Sequence[str]) -> dict[str, int]:
    """Partitions by topic once all of ``names`` are known, as they are a moment after creation."""
    async with asyncio.timeout(SETTLE_S_MAX):
        while True:
            counts = await _counts(admin)
            if all(counts.get(name) for name in names):
                return counts
            await asyncio.sleep(RETRY_S / 10)


async def _create(
    admin: Any, specs: Sequence[TopicSpec], prefix: str, partitions: int, replication_factor: int
) -> None:
    if not specs:
        return
    new = [
        NewTopic(
            prefix + spec.name,
            spec.partitions or partitions,
            replication_factor,
            topic_configs=spec.kafka_config(),
        )
        for spec in specs
    ]
    response = await admin.create_topics(new)
    for name, code, message in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:  # another one was quicker: as wanted
            raise TopicError(f"Kafka refuses the topic {name}: {error.__name__}: {message}")
