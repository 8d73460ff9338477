"""The list of benchmarks: area → module, and what it answers."""

from __future__ import annotations

from typing import Final

AREAS: Final[dict[str, tuple[str, str]]] = {
    "whole": ("benchmarks.whole", "latency of the whole suite against offered rate"),
    "retrieval": ("benchmarks.retrieval", "the best thousand of a million posts, beside peers"),
    "scoring": ("benchmarks.scoring", "the ranker beside full masked attention and bare products"),
    "ingest": ("benchmarks.ingest", "Kafka to visible in the store: rate and freshness"),
    "store": ("benchmarks.store", "thunder's store beside C, Rust and Python; while posts come"),
    "restart": ("benchmarks.restart", "a replica of ten million posts that starts again"),
    "wire": ("benchmarks.wire", "thunder's answers over gRPC: bytes, columns, calls a second"),
    "gpu": ("benchmarks.gpu", "scoring and retrieval on this machine's accelerator"),
    "pipeline": ("benchmarks.pipeline", "the feed's components as columns and as objects"),
}
