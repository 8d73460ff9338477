"""Fixtures for the whole tree: the real Kafka and the real Redis, where they can be had.

``KAFKA_BOOTSTRAP_SERVERS`` and ``REDIS_URL`` name running ones. They are taken out of the
environment first, so that a test which means the embedded log and stores gets just these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest
from real_parts import kafka, redis
from real_parts.kafka import KafkaCluster
from real_parts.redis import RedisServer

# How long a machine with other work takes to draw or to judge an example is nobody's subject.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

GIVEN_KAFKA = os.environ.pop("KAFKA_BOOTSTRAP_SERVERS", "")
GIVEN_REDIS = os.environ.pop("REDIS_URL", "")


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka that all tests share: each uses a topic prefix of its own."""
    if GIVEN_KAFKA:
        yield GIVEN_KAFKA
        return
    if kafka.jars() is None:
        pytest.skip(kafka.HOW_TO_GET_IT)
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster.bootstrap_servers


@pytest.fixture
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker of the test's own, to stop, kill and start again."""
    if kafka.jars() is None:
        pytest.skip(kafka.HOW_TO_GET_IT)
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Three brokers, every topic on all of them."""
    if kafka.jars() is None:
        pytest.skip(kafka.HOW_TO_GET_IT)
    with KafkaCluster(tmp_path_factory.mktemp("kafka"), brokers=3) as cluster:
        yield cluster


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the test's own, to stop, kill and start again (a start takes some 20 ms)."""
    if not redis.available():
        pytest.skip(redis.HOW_TO_GET_IT)
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty Redis, or the one that REDIS_URL names, emptied by nobody: use a key prefix."""
    if GIVEN_REDIS:
        yield GIVEN_REDIS
        return
    if not redis.available():
        pytest.skip(redis.HOW_TO_GET_IT)
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url
