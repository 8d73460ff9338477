"""The client library's consumer, set up so that whoever reads places every partition itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError

from service_kit.event_log import TopicPartition
from service_kit.kafka.bare_records import leave_records_bare
from service_kit.kafka.link import CLOSE_S_MAX, METADATA_AGE_MS, REQUEST_MS

logger = logging.getLogger(__name__)
SESSION_MS = 10_000  # a member of the group that died is replaced after this
FETCH_BYTES_MAX = 2 << 20  # a partition and fetch: twice the largest record, with its batch


async def connected(servers: str, group: str | None) -> Any:
    """A started consumer that has no partitions; `KafkaError` where no broker answers."""
    client = AIOKafkaConsumer(
        bootstrap_servers=servers,
        client_id="foryou",
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",  # we place partitions ourselves, and say so
        max_partition_fetch_bytes=FETCH_BYTES_MAX,
        request_timeout_ms=REQUEST_MS,
        metadata_max_age_ms=METADATA_AGE_MS,
        session_timeout_ms=SESSION_MS,
    )
    try:
        await client.start()
    except BaseException:
        await end(client)
        raise
    leave_records_bare(client)
    return client


async def end(client: Any) -> None:
    """Leaves the group and closes; what does not answer is cut off."""
    try:
        async with asyncio.timeout(CLOSE_S_MAX):
            await client.stop()
    except (KafkaError, OSError) as error:
        logger.warning("a connection to Kafka did not close", extra={"reason": repr(error)})
        await client._client.close()


def rebalancing(client: Any) -> bool:
    """Whether the group has yet to say which partitions are ours."""
    waiting: bool = client._subscription.reassignment_in_progress
    return waiting


class ForgettingListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Forgets positions of partitions that the group takes away, all of them at each rebalance:
    their next owner, perhaps we, starts at what is committed."""

    def __init__(self, positions: dict[TopicPartition, int]) -> None:
        self._positions = positions

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._positions.clear()

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Placed before the next fetch."""
