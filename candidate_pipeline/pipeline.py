"""The machine that runs components: lists of them, checked once, walked for every request.

query hydrators → sources → hydrators → filters → scorers → selector
                → late hydrators → late filters (refilled from the tail) → truncate
                → response, then side effects
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic

from candidate_pipeline.components import (
    Filter,
    Hydrator,
    Q,
    QueryHydrator,
    Scorer,
    Selector,
    SideEffect,
    Source,
)
from candidate_pipeline.errors import WiringError
from candidate_pipeline.observer import LoggingObserver, Observer
from candidate_pipeline.plan import REFILL_ROUNDS_MAX, Parts, ResultSize, build_plan
from candidate_pipeline.request import Request
from candidate_pipeline.result import PipelineResult
from candidate_pipeline.runner import Runner, tell
from candidate_pipeline.schema import Schema
from candidate_pipeline.side_effects import CONCURRENCY_MAX, QUEUE_MAX, SideEffectRunner

BLOCKING_THREADS_MAX = 8  # for `blocking` components; one that outlives its budget keeps its thread
LATE_SHARE_MAX = 1 / 3  # a near deadline is for finding candidates first


class CandidatePipeline(Generic[Q]):
    """Raises WiringError at construction when the parts do not fit.

    id_column: the integer column that names a candidate; every source brings it.
    source_column: an integer column in which source i (declared order) sets bit i; None for none.
    preset_columns: columns that may be read before anyone wrote them, as the schema's default.
    result_size: how many are served; None for all selected, a function if it depends on the query.
    query_type: the query's dataclass, to check query hydrators' fields at construction too.
    budget_ms: for a request that brings no nearer deadline. late_reserve_ms: the part of it that
        stages before the selector may not use, so that a slow scorer leaves time to check safety;
        never more than a third of what a request has.
    """

    def __init__(
        self,
        *,
        schema: Schema,
        id_column: str,
        sources: Sequence[Source[Q]],
        selector: Selector[Q],
        query_hydrators: Sequence[QueryHydrator[Q]] = (),
        hydrators: Sequence[Hydrator[Q]] = (),
        filters: Sequence[Filter[Q]] = (),
        scorers: Sequence[Scorer[Q]] = (),
        late_hydrators: Sequence[Hydrator[Q]] = (),
        late_filters: Sequence[Filter[Q]] = (),
        side_effects: Sequence[SideEffect[Q]] = (),
        result_size: int | Callable[[Q], ResultSize] | None = None,
        source_column: str | None = "sources",
        preset_columns: Collection[str] = (),
        query_type: type[Q] | None = None,
        name: str = "CandidatePipeline",
        budget_ms: float = 1_000.0,
        late_reserve_ms: float = 0.0,
        refill_rounds_max: int = REFILL_ROUNDS_MAX,
        side_effect_concurrency_max: int = CONCURRENCY_MAX,
        side_effect_queue_max: int = QUEUE_MAX,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        _check_times(budget_ms, late_reserve_ms)
        self.name = name
        self.schema = schema
        self.observer = observer or LoggingObserver()
        self._budget_ms = budget_ms
        self._late_reserve_ms = late_reserve_ms
        self._clock = clock
        parts = Parts(
            query_hydrators=query_hydrators,
            sources=sources,
            hydrators=hydrators,
            filters=filters,
            scorers=scorers,
            selector=selector,
            late_hydrators=late_hydrators,
            late_filters=late_filters,
            side_effects=side_effects,
        )
        self._plan = build_plan(
            schema=schema,
            id_column=id_column,
            source_column=source_column,
            query_type=query_type,
            parts=parts,
            preset_columns=preset_columns,
            result_size_for=_size_function(result_size),
            refill_rounds_max=refill_rounds_max,
        )
        self._executor = ThreadPoolExecutor(BLOCKING_THREADS_MAX, thread_name_prefix=name)
        self.side_effects = SideEffectRunner(
            self.observer, clock, side_effect_concurrency_max, side_effect_queue_max
        )

    def source_bit(self, source: str) -> int:
        """The bit that the source of this name sets in the source column; KeyError if none."""
        return 1 << {one.name: i for i, one in enumerate(self._plan.sources)}[source]

    def component_names(self) -> dict[str, tuple[str, ...]]:
        """Stage name → the names of its components, in the order in which they run."""
        return self._plan.component_names()

    def early_until_s(self, until_s: float) -> float:
        """When the stages before the selector must be done, of a request that ends at until_s."""
        left_s = max(until_s - asyncio.get_running_loop().time(), 0.0)
        return until_s - min(self._late_reserve_ms / 1e3, LATE_SHARE_MAX * left_s)

    async def execute(
        self,
        query: Q,
        *,
        deadline_s: float | None = None,
        remaining_ms: float | None = None,
        explain: bool = False,
    ) -> PipelineResult[Q]:
        """The feed for one query. The nearest of the three limits holds: `budget_ms`, and

        deadline_s: absolute, on the event loop's clock (time.monotonic).
        remaining_ms: from now.

        Past the limit, whatever waits is cancelled and its policy applied; what only computes still
        runs. Raises PipelineFailed when a component with FAIL_REQUEST failed.
        """
        started = self._clock()
        until_s = _deadline(self._budget_ms, deadline_s, remaining_ms)
        early = self._runner(query, self.early_until_s(until_s))
        late = self._runner(query, until_s)
        request = Request(self._plan, query, early, late, explain=explain)
        selected, not_selected = await request.walk()
        request.books.check()
        result = PipelineResult(
            pipeline=self.name,
            query=request.query,
            selected=selected,
            not_selected=not_selected,
            degraded_reasons=request.degraded_reasons,
            stages=tuple(request.stages),
            counts=dict(request.books.counts),
            removed_by=dict(request.books.removed_by),
            latency_ms=(self._clock() - started) * 1e3,
            ledger=request.books.ledger(request.empty),
        )
        tell(self.observer.pipeline_finished, result)
        self.side_effects.submit(self._plan.side_effects, result)
        return result

    async def drain(self, timeout_s: float) -> bool:
        """Wait for side effects; True when none was cut off. Call it when requests have ended."""
        return await self.side_effects.drain(timeout_s)

    def close(self) -> None:
        """Let the threads of `blocking` components go; the pipeline is not used after it."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _runner(self, query: Q, deadline_s: float) -> Runner:
        return Runner(
            request_id=query.request_id,
            deadline_s=deadline_s,
            observer=self.observer,
            clock=self._clock,
            executor=self._executor,
        )


def _deadline(budget_ms: float, deadline_s: float | None, remaining_ms: float | None) -> float:
    now_s = asyncio.get_running_loop().time()
    left_ms = budget_ms if remaining_ms is None else min(budget_ms, remaining_ms)
    until_s = now_s + left_ms / 1e3
    return until_s if deadline_s is None else min(until_s, deadline_s)


def _size_function(size: int | Callable[[Q], ResultSize] | None) -> Callable[[Q], ResultSize]:
    if callable(size):
        return size
    if size is not None and size < 0:
        raise WiringError(f"result_size is {size}; it wants 0 or more, or None for no limit")
    return lambda _: size


def _check_times(budget_ms: float, late_reserve_ms: float) -> None:
    if not (math.isfinite(budget_ms) and budget_ms > 0):
        raise WiringError(f"budget_ms is {budget_ms!r}; it wants a positive number")
    if not 0 <= late_reserve_ms < budget_ms:
        raise WiringError(
            f"late_reserve_ms is {late_reserve_ms!r}; it wants 0 or more, below budget_ms"
            f" ({budget_ms!r})"
        )
