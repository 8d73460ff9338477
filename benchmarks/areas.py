"""The list of benchmarks: area → module, and what it answers."""

from __future__ import annotations

from typing import Final

AREAS: Final[dict[str, tuple[str, str]]] = {
    "whole": ("benchmarks.whole", "latency of the whole suite against offered rate"),
    "retrieval": ("benchmarks.retrieval", "the best thousand of a million posts, beside peers"),
    "store": ("benchmarks.store", "thunder's store beside C, Rust and Python; while posts come"),
    "pipeline": ("benchmarks.pipeline", "the feed's components as columns and as objects"),
}
