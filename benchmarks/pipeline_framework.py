"""What the framework itself costs: twenty components that do next to nothing.

    python -m benchmarks.pipeline_framework [--candidates N] [--repeats N]

Two query hydrators, one source, four hydrators, eight filters, four scorers and a selector over
1,500 candidates; every component that may be `async def` is. Goal: p50 ≤ 0.42 ms, the prototype's
columnar loop without budgets, checks and reports, on the machine of the prototypes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline import (
    CandidatePipeline,
    CandidateTable,
    Column,
    Filter,
    Hydrator,
    Observer,
    QueryHydrator,
    Schema,
    Scorer,
    Source,
    TopKSelector,
)

GOAL_MS = 0.42
HYDRATORS, FILTERS, SCORERS = 4, 8, 4
WARM_UP_RUNS = 50


@dataclass(frozen=True)
class Ask:
    """A query with two fields to fill."""

    request_id: str
    first: int = 0
    second: int = 0


class Field(QueryHydrator[Ask]):
    """Fills one field."""

    def __init__(self, field: str) -> None:
        self._field = field

    @property
    def name(self) -> str:
        return f"Field_{self._field}"

    def declared_writes(self) -> frozenset[str]:
        return frozenset({self._field})

    async def hydrate(self, query: Ask) -> dict[str, object]:
        return {self._field: 1}


class Rows(Source[Ask]):
    """The same candidates every time."""

    writes = frozenset({"id", "x"})

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self._columns = {"id": rng.permutation(count), "x": rng.random(count)}

    async def fetch(self, query: Ask) -> dict[str, NDArray[Any]]:
        return self._columns


class Numbered:
    """Names and columns by number."""

    def __init__(self, number: int) -> None:
        self.number = number

    @property
    def name(self) -> str:
        return f"{type(self).__name__}{self.number}"

    def declared_writes(self) -> frozenset[str]:
        return frozenset({f"{type(self).__name__.lower()}{self.number}"})


class Fact(Numbered, Hydrator[Ask]):
    """One multiplication."""

    reads = frozenset({"x"})

    async def hydrate(self, query: Ask, table: CandidateTable) -> dict[str, NDArray[Any]]:
        return {f"fact{self.number}": table["x"] * self.number}


class Above(Filter[Ask]):
    """One comparison; each removes about one candidate in a hundred."""

    reads = frozenset({"x"})

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def name(self) -> str:
        return f"Above{self._number}"

    def keep(self, query: Ask, table: CandidateTable) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = table["x"] > self._number / 100
        return mask


class Score(Numbered, Scorer[Ask]):
    """One addition."""

    reads = frozenset({"fact1"})

    async def score(self, query: Ask, table: CandidateTable) -> dict[str, NDArray[Any]]:
        return {f"score{self.number}": table["x"] + self.number}


def pipeline(candidates: int) -> CandidatePipeline[Ask]:
    """The twenty components."""
    numbered = [f"fact{i}" for i in range(HYDRATORS)] + [f"score{i}" for i in range(SCORERS)]
    return CandidatePipeline(
        schema=Schema(
            [
                Column("id", np.int64, 0),
                Column("x", np.float64, 0.0),
                Column("sources", np.int64, 0),
                *(Column(name, np.float64, np.nan) for name in numbered),
            ]
        ),
        id_column="id",
        query_type=Ask,
        query_hydrators=[Field("first"), Field("second")],
        sources=[Rows(candidates)],
        hydrators=[Fact(i) for i in range(HYDRATORS)],
        filters=[Above(i) for i in range(FILTERS)],
        scorers=[Score(i) for i in range(SCORERS)],
        selector=TopKSelector("score3", "id", 50),
        result_size=35,
        observer=Observer(),
    )


async def measure(candidates: int, repeats: int) -> tuple[list[float], float]:
    """(sorted wall milliseconds of each run, mean processor milliseconds)."""
    machine, query = pipeline(candidates), Ask("bench")
    for _ in range(WARM_UP_RUNS):
        await machine.execute(query)
    times, cpu_started = [], time.process_time()
    for _ in range(repeats):
        started = time.perf_counter()
        await machine.execute(query)
        times.append((time.perf_counter() - started) * 1e3)
    return sorted(times), (time.process_time() - cpu_started) * 1e3 / repeats


def main(arguments: list[str] | None = None) -> int:
    """Prints one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--candidates", type=int, default=1_500)
    parser.add_argument("--repeats", type=int, default=1_000)
    options = parser.parse_args(arguments)
    times, cpu_ms = asyncio.run(measure(options.candidates, options.repeats))
    print(
        f"{options.candidates} candidates, n {options.repeats}: p50 {np.quantile(times, 0.5):.3f}"
        f" ms, p99 {np.quantile(times, 0.99):.3f} ms, processor {cpu_ms:.3f} ms a request"
        f" (goal: p50 {GOAL_MS} ms)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
