"""`foryou topics`: makes the topics that a deployment on Kafka needs, and says which there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from foryou.errors import CommandError, UsageError

if TYPE_CHECKING:
    from service_kit.kafka.admin import TopicState

EXAMPLES = (
    "Examples: `foryou topics --kafka-bootstrap-servers 127.0.0.1:9092` · "
    "`foryou topics --partitions 24 --replication-factor 3 --wait 120 --json`. "
    "Topics that exist are left as they are, so that it may run at every start."
)
PARTITIONS_MAX = 10_000  # a sanity bound; Kafka's own advice is some thousands a broker
REPLICATION_MAX = 15
WAIT_S_MAX = 3_600.0


def topics(
    kafka_bootstrap_servers: Annotated[
        str,
        typer.Option(
            help="host:port of Kafka brokers, comma-separated.", envvar="KAFKA_BOOTSTRAP_SERVERS"
        ),
    ] = "",
    topic_prefix: Annotated[
        str, typer.Option(help="Put before every topic's name, as the services' setting says.")
    ] = "",
    partitions: Annotated[
        int,
        typer.Option(
            help="Of each topic that is made (dead letters have 1): a multiple of the shares.",
            min=1,
            max=PARTITIONS_MAX,
        ),
    ] = 12,
    replication_factor: Annotated[
        int,
        typer.Option(help="Copies of each; 3 where a broker may die.", min=1, max=REPLICATION_MAX),
    ] = 1,
    wait: Annotated[
        float,
        typer.Option(help="Seconds to try while Kafka does not answer.", min=0, max=WAIT_S_MAX),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Create the topics that are missing in Kafka; change nothing that exists."""
    from service_kit.event_log import LogUnavailableError, TopicError
    from service_kit.kafka.admin import ensure_kafka_topics
    from service_kit.topics import TOPICS

    if not kafka_bootstrap_servers:
        raise UsageError(
            "no brokers: name them by --kafka-bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS "
            "(without Kafka, the embedded log makes its topics by itself)"
        )
    work = ensure_kafka_topics(
        kafka_bootstrap_servers,
        TOPICS,
        prefix=topic_prefix,
        partitions=partitions,
        replication_factor=replication_factor,
        wait_s=wait,
    )
    try:
        states = asyncio.run(work)
    except (LogUnavailableError, TopicError) as error:
        raise CommandError(str(error)) from error
    print(_as_json(states) if as_json else _as_text(states, partitions))


def _as_json(states: Sequence[TopicState]) -> str:
    rows = [{"topic": s.name, "partitions": s.partitions, "created": s.created} for s in states]
    return json.dumps({"topics": rows})


def _as_text(states: Sequence[TopicState], partitions: int) -> str:
    width = max(len(state.name) for state in states)
    lines = []
    for state in states:
        verb = "created" if state.created else "exists"
        lines.append(f"{state.name:<{width}}  {state.partitions:>4} partitions  {verb}")
    made = sum(state.created for state in states)
    lines.append(f"{made} created, {len(states) - made} existed")
    other = [s.name for s in states if s.partitions not in (1, partitions)]
    if other:
        lines.append(
            f"not {partitions} partitions, and left so, for keys would change places: "
            + ", ".join(other)
        )
    return "\n".join(lines)
