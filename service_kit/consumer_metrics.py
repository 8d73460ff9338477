"""What the consumers of one process count and measure."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from service_kit.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ConsumerMetrics:
    """The metrics that all consumers of one process share."""

    records: Counter
    poison: Counter
    restarts: Counter
    batch_seconds: Histogram
    lag: Gauge
    lag_measured: Gauge

    @staticmethod
    def of(metrics: Metrics) -> ConsumerMetrics:
        """Those of ``metrics``, made at the first consumer."""
        return metrics.once("consumer", ConsumerMetrics._make)

    @staticmethod
    def _make(metrics: Metrics) -> ConsumerMetrics:
        by_consumer = ["consumer"]
        return ConsumerMetrics(
            metrics.counter("consumer_records_total", "Records handled", by_consumer),
            metrics.counter("consumer_poison_total", "Records put aside", ["topic"]),
            metrics.counter("consumer_restarts_total", "Batches that failed", by_consumer),
            metrics.histogram("consumer_batch_seconds", "Time to handle a batch", by_consumer),
            metrics.gauge("consumer_lag_records", "Records not handled", ["topic", "partition"]),
            metrics.gauge(
                "consumer_lag_measured_timestamp_seconds",
                "When the lag was last measured: one that hangs in a batch measures none",
                by_consumer,
            ),
        )
