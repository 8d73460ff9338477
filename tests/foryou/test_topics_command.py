"""`foryou topics` readies a Kafka for the suite, at every start, without touching what is there."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from foryou.cli import run
from service_kit.topics import TOPICS


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:8]}."


def asked(servers: str, prefix: str, *more: str) -> list[str]:
    return ["topics", "--kafka-bootstrap-servers", servers, "--topic-prefix", prefix, *more]


def test_topics_are_made_once_and_then_left_as_they_are(
    kafka_bootstrap_servers: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(asked(kafka_bootstrap_servers, prefix, "--partitions", "4", "--json")) == 0
    made = json.loads(capsys.readouterr().out)["topics"]
    assert {row["topic"] for row in made} == {prefix + spec.name for spec in TOPICS}
    assert all(row["created"] for row in made)
    partitions = {row["topic"].removeprefix(prefix): row["partitions"] for row in made}
    assert partitions["foryou.posts"] == 4
    assert partitions["foryou.posts.dead"] == 1
    assert run(asked(kafka_bootstrap_servers, prefix, "--partitions", "8")) == 0
    text = capsys.readouterr().out
    assert f"0 created, {len(TOPICS)} existed" in text
    assert "not 8 partitions" in text, "an operator who wants more must hear that none were added"


async def test_events_are_kept_by_arrival_and_the_graph_for_ever(
    kafka_bootstrap_servers: str, prefix: str
) -> None:
    """By the events' own time a replay of old ones would be removed before it was read."""

    code = await asyncio.to_thread(run, asked(kafka_bootstrap_servers, prefix))
    assert code == 0
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap_servers)
    await admin.start()
    found = {}
    for name in ("foryou.posts", "foryou.graph"):
        wanted = ConfigResource(ConfigResourceType.TOPIC, prefix + name)
        (answer,) = await admin.describe_configs([wanted])
        found[name] = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    await admin.close()
    assert found["foryou.posts"]["message.timestamp.type"] == "LogAppendTime"
    assert found["foryou.graph"]["retention.ms"] == "-1"


def test_an_impossible_replication_is_refused_in_words(
    kafka_bootstrap_servers: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(asked(kafka_bootstrap_servers, prefix, "--replication-factor", "15")) == 1
    assert "replication" in capsys.readouterr().err.lower()


def test_a_kafka_that_is_away_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(asked("127.0.0.1:1", "")) == 1
    said = capsys.readouterr().err
    assert "127.0.0.1:1" in said
    assert "running" in said


def test_without_brokers_it_says_how_to_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics"]) == 2
    assert "KAFKA_BOOTSTRAP_SERVERS" in capsys.readouterr().err
