"""A pipeline's parts after the wiring checks, in the shape that a request walks through."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from candidate_pipeline.calls import (
    Call,
    FilterCall,
    HydratorCall,
    QueryHydratorCall,
    ScorerCall,
    SelectorCall,
    SourceCall,
)
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
from candidate_pipeline.result import Stage
from candidate_pipeline.schema import Schema
from candidate_pipeline.table import CandidateTable
from candidate_pipeline.wiring import (
    ColumnFlow,
    Wired,
    check_names,
    check_query_fields,
    waves,
    wire,
)

REFILL_ROUNDS_MAX = 4  # each round looks twice as far: fifteen times what was missing at first

ResultSize = int | None

C = TypeVar("C", bound=Call[Any])


@dataclass(frozen=True, slots=True)
class Parts(Generic[Q]):
    """The lists as the user wrote them."""

    query_hydrators: Sequence[QueryHydrator[Q]]
    sources: Sequence[Source[Q]]
    hydrators: Sequence[Hydrator[Q]]
    filters: Sequence[Filter[Q]]
    scorers: Sequence[Scorer[Q]]
    selector: Selector[Q]
    late_hydrators: Sequence[Hydrator[Q]]
    late_filters: Sequence[Filter[Q]]
    side_effects: Sequence[SideEffect[Q]]


@dataclass(frozen=True, slots=True)
class Plan(Generic[Q]):
    """What every request shares; immutable."""

    schema: Schema
    id_column: str
    source_column: str | None
    empty: CandidateTable
    query_hydrators: tuple[tuple[QueryHydratorCall, ...], ...]
    sources: tuple[SourceCall, ...]
    hydrators: tuple[tuple[HydratorCall, ...], ...]
    filters: tuple[FilterCall, ...]
    scorers: tuple[ScorerCall, ...]
    selector: SelectorCall
    late_hydrators: tuple[tuple[HydratorCall, ...], ...]
    late_filters: tuple[FilterCall, ...]
    side_effects: tuple[Wired[SideEffect[Q]], ...]
    result_size_for: Callable[[Q], ResultSize]
    refill_rounds_max: int

    def component_names(self) -> dict[str, tuple[str, ...]]:
        """Stage name → the names of its components, in the order in which they run."""
        stages: tuple[tuple[Call[Any] | Wired[Any], ...], ...] = (
            tuple(chain.from_iterable(self.query_hydrators)),
            self.sources,
            tuple(chain.from_iterable(self.hydrators)),
            self.filters,
            self.scorers,
            (self.selector,),
            tuple(chain.from_iterable(self.late_hydrators)),
            self.late_filters,
            self.side_effects,
        )
        names = (tuple(one.name for one in stage) for stage in stages)
        return dict(zip(map(str, Stage), names, strict=True))


def build_plan(
    schema: Schema,
    id_column: str,
    source_column: str | None,
    query_type: type[Q] | None,
    parts: Parts[Q],
    preset_columns: Collection[str],
    result_size_for: Callable[[Q], ResultSize],
    refill_rounds_max: int,
) -> Plan[Q]:
    """Raises WiringError when the parts do not fit."""
    asking = wire(Stage.QUERY_HYDRATOR, parts.query_hydrators)
    sources = wire(Stage.SOURCE, parts.sources)
    hydrators = wire(Stage.HYDRATOR, parts.hydrators)
    filters = wire(Stage.FILTER, parts.filters)
    scorers = wire(Stage.SCORER, parts.scorers)
    (selector,) = wire(Stage.SELECTOR, [parts.selector])
    late_hydrators = wire(Stage.LATE_HYDRATOR, parts.late_hydrators)
    late_filters = wire(Stage.LATE_FILTER, parts.late_filters)
    effects = wire(Stage.SIDE_EFFECT, parts.side_effects)
    candidate_parts: tuple[Wired[Any], ...] = (
        *hydrators,
        *filters,
        *scorers,
        selector,
        *late_hydrators,
        *late_filters,
    )
    check_names([*asking, *sources, *candidate_parts, *effects])
    check_query_fields(asking, query_type)
    flow = ColumnFlow(schema, id_column, source_column, preset_columns)
    flow.sources(sources)
    flow.together(hydrators)
    flow.in_order(filters)
    flow.in_order(scorers)
    flow.in_order([selector])
    flow.together(late_hydrators)
    flow.in_order(late_filters)
    return Plan(
        schema=schema,
        id_column=id_column,
        source_column=source_column,
        empty=CandidateTable.from_columns(schema, {}, n=0),
        query_hydrators=_each(QueryHydratorCall, waves(asking)),
        sources=tuple(SourceCall(one, schema, id_column) for one in sources),
        hydrators=_each(HydratorCall, waves(hydrators)),
        filters=tuple(map(FilterCall, filters)),
        scorers=tuple(map(ScorerCall, scorers)),
        selector=SelectorCall(selector),
        late_hydrators=_each(HydratorCall, waves(late_hydrators)),
        late_filters=tuple(map(FilterCall, late_filters)),
        side_effects=effects,
        result_size_for=result_size_for,
        refill_rounds_max=refill_rounds_max,
    )


def _each(
    kind: Callable[[Wired[Any]], C], wired: Sequence[Sequence[Wired[Any]]]
) -> tuple[tuple[C, ...], ...]:
    """A call for each component of each wave."""
    return tuple(tuple(map(kind, wave)) for wave in wired)
