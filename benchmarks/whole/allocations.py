"""Memory that the stages of one feed ask for, beyond what they are given and what they leave.

The feed's real components on in-memory clients in this process, traced by `tracemalloc`, which sees
numpy's arrays too. A trace makes everything slower: no time is taken here. What a stage returns
early and asks for again counts once: these are the most bytes that it held, and the bytes that
were still there when the next stage began.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from collections import Counter
from typing import Any

from benchmarks.columnar_pipeline import columnar_pipeline
from benchmarks.feed_world import make_world
from candidate_pipeline.observer import Observer
from candidate_pipeline.result import ComponentReport, PipelineResult, Stage

CANDIDATES = 2_200  # 1,200 of followed accounts and 1,000 from retrieval
WARM_UP_FEEDS = 3


class StageMemory(Observer):
    """Bytes by stage; a component's are those since the one before it ended."""

    def __init__(self) -> None:
        self.peak: dict[Stage, int] = {}
        self.left: Counter[Stage] = Counter()
        self._before = 0

    def begin(self) -> None:
        """Right before a feed."""
        self.peak.clear()
        self.left.clear()
        self._mark()

    def component_finished(self, request_id: str, report: ComponentReport) -> None:
        now, peak = tracemalloc.get_traced_memory()
        known = self.peak.get(report.stage, 0)
        self.peak[report.stage] = max(known, self.left[report.stage] + peak - self._before)
        self.left[report.stage] += now - self._before
        self._mark()

    def pipeline_finished(self, result: PipelineResult[Any]) -> None:
        self._mark()

    def _mark(self) -> None:
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]


def stage_kilobytes(candidates: int = CANDIDATES) -> dict[str, dict[str, float]]:
    """ "most held" and "left behind" → stage → kilobytes of one feed, after some to warm up."""
    world, memory = make_world(candidates), StageMemory()
    pipeline = columnar_pipeline(world, memory)
    with asyncio.Runner() as runner:
        for _ in range(WARM_UP_FEEDS):
            runner.run(pipeline.execute(world.query))
        tracemalloc.start()
        try:
            memory.begin()
            result = runner.run(pipeline.execute(world.query))
        finally:
            tracemalloc.stop()
    assert not result.degraded_reasons, result.degraded_reasons
    return {"most held": _kilobytes(memory.peak), "left behind": _kilobytes(memory.left)}


def _kilobytes(size_bytes: dict[Stage, int] | Counter[Stage]) -> dict[str, float]:
    return {str(stage): one / 1e3 for stage, one in size_bytes.items()}
