"""Whether Kafka answers: the metrics of it, and one log line when it stops and when it returns.

The client library writes a line for every attempt, hundreds in an outage; `quiet_client_logs`
leaves these out, for what matters in them reaches us as exceptions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiokafka.errors import BrokerResponseError, KafkaError
from prometheus_client import Counter

from service_kit.event_log import LogUnavailableError
from service_kit.metrics import Metrics

logger = logging.getLogger(__name__)
REQUEST_MS = 15_000  # a request without an answer; longer than a dead group member is waited for
METADATA_AGE_MS = 10_000  # new partitions and new leaders are known after this, asked or not
CLOSE_S_MAX = 5.0  # a broker that is away must not hold up a process that ends


@dataclass(frozen=True, slots=True)
class LogMetrics:
    """What the sinks and sources of one process count."""

    outages: Counter
    resets: Counter
    skipped: Counter
    lost_commits: Counter
    reconnects: Counter

    @staticmethod
    def of(metrics: Metrics) -> LogMetrics:
        """Those of ``metrics``, made at the first sink or source."""
        return metrics.once("event_log", LogMetrics._make)

    @staticmethod
    def _make(metrics: Metrics) -> LogMetrics:
        return LogMetrics(
            metrics.counter("event_log_outages_total", "Times that Kafka stopped answering"),
            metrics.counter(
                "event_log_resets_total",
                "Partitions read from their oldest event, for the wanted offset does not exist",
                ["topic"],
            ),
            metrics.counter(
                "event_log_skipped_total", "Events that retention removed before a read", ["topic"]
            ),
            metrics.counter(
                "event_log_lost_commits_total", "Commits refused since partitions had moved on"
            ),
            metrics.counter(
                "event_log_reconnects_total", "Connections that were silent while events waited"
            ),
        )


class Link:
    """The state of one connection, as seen by its requests."""

    def __init__(self, servers: str, user: str, metrics: LogMetrics) -> None:
        """``user``: what the connection is for, in the log lines."""
        self.servers = servers
        self._user = user
        self._metrics = metrics
        self._away = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Turns the client's failures into LogUnavailableError; each outage is told once."""
        try:
            yield
        except LogUnavailableError:
            raise
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            raise self.lost(error) from error
        self._back()

    def lost(self, error: BaseException) -> LogUnavailableError:
        """Counts and tells the outage; the exception to raise."""
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        if not self._away:
            self._away = True
            self._metrics.outages.inc()
            logger.error(
                "Kafka does not answer; tried again until it does",
                extra={"servers": self.servers, "user": self._user, "reason": reason},
            )
        if _refused(error):
            return LogUnavailableError(f"Kafka at {self.servers} refuses a request ({reason})")
        return LogUnavailableError(
            f"Kafka at {self.servers} does not answer ({reason}); is it running, and are "
            "kafka_bootstrap_servers (KAFKA_BOOTSTRAP_SERVERS) its addresses?"
        )

    def _back(self) -> None:
        if self._away:
            self._away = False
            logger.info("Kafka answers again", extra={"servers": self.servers, "user": self._user})


def _refused(error: BaseException) -> bool:
    """Whether a broker has answered, by an error that no repetition mends."""
    return isinstance(error, BrokerResponseError) and not error.retriable


def quiet_client_logs() -> None:
    """Silences the client library's own lines unless the operator has chosen a level for them."""
    for name in ("aiokafka", "aiokafka.consumer.group_coordinator"):
        client = logging.getLogger(name)
        if client.level == logging.NOTSET:
            client.setLevel(logging.CRITICAL)
