"""A Kafka for the benchmark: the one that is named, or one of its own that ends with it."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parents[2] / "tests"  # real_parts, which the tests start their brokers with


@contextmanager
def kafka(servers: str) -> Iterator[str]:
    """Addresses of brokers; "" where none are named and Kafka is not installed."""
    if servers:
        yield servers
        return
    parts = _parts()
    if parts is None or parts.jars() is None:
        yield ""
        return
    with (
        tempfile.TemporaryDirectory() as directory,
        parts.KafkaCluster(Path(directory)) as cluster,
    ):
        yield cluster.bootstrap_servers


def _parts() -> Any:
    if not (PARTS / "real_parts").is_dir():
        return None  # not a checkout
    if str(PARTS) not in sys.path:
        sys.path.append(str(PARTS))
    return importlib.import_module("real_parts.kafka")
