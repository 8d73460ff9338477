"""The machine that runs components: `CandidatePipeline`."""

from collections.abc import Sequence
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
from candidate_pipeline.observer import LoggingObserver, Observer
from candidate_pipeline.result import PipelineResult
from candidate_pipeline.schema import Schema


class CandidatePipeline(Generic[Q]):
    """Lists of components, checked once at construction (WiringError), run for every request."""

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
        result_size: int | None = None,
        source_column: str | None = "sources",
        query_type: type[Q] | None = None,
        name: str = "CandidatePipeline",
        budget_ms: float = 1_000.0,
        late_reserve_ms: float = 0.0,
        observer: Observer | None = None,
    ) -> None:
        self.schema = schema
        self.observer = observer or LoggingObserver()

    async def execute(
        self,
        query: Q,
        *,
        deadline_s: float | None = None,
        remaining_ms: float | None = None,
        explain: bool = False,
    ) -> PipelineResult[Q]:
        """One request. deadline_s: absolute, on the event loop's clock (time.monotonic)."""
        raise NotImplementedError

    async def drain(self, timeout_s: float) -> bool:
        """Wait for side effects; True when all finished in time."""
        raise NotImplementedError
