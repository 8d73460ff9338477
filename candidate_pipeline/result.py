"""What a request leaves behind: the feed, the reports of its components, and every row's fate."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Q
from candidate_pipeline.table import CandidateTable


class Stage(enum.StrEnum):
    """The steps of a request, in their order."""

    QUERY_HYDRATOR = "QueryHydrator"
    SOURCE = "Source"
    HYDRATOR = "Hydrator"
    FILTER = "Filter"
    SCORER = "Scorer"
    SELECTOR = "Selector"
    LATE_HYDRATOR = "LateHydrator"
    LATE_FILTER = "LateFilter"
    SIDE_EFFECT = "SideEffect"


class Fate(enum.StrEnum):
    """Where a fetched candidate ended; exactly one holds for each."""

    SERVED = "served"
    FILTERED = "filtered"
    NOT_SELECTED = "not_selected"
    REMOVED_LATE = "removed_late"
    TRUNCATED = "truncated"


class ComponentReport(NamedTuple):
    """One component's run in one request. Counts are candidates (fields, for a QueryHydrator).

    error: the exception as text, None when all went well.
    reason: what `degraded_reasons` says of it, "<component>:<why>", None when nothing.
    """

    stage: Stage
    component: str
    enabled: bool
    latency_ms: float = 0.0
    input_count: int = 0
    output_count: int = 0
    error: str | None = None
    reason: str | None = None


class StageReport(NamedTuple):
    """One stage's run; late stages have one report a round of refill.

    cpu_ms: processor's time of the event loop's thread meanwhile, other requests' too where several
    are under way.
    """

    stage: Stage
    latency_ms: float
    total: int
    components: tuple[ComponentReport, ...]
    cpu_ms: float = 0.0

    @property
    def enabled(self) -> int:
        """How many of the components took part."""
        return sum(report.enabled for report in self.components)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every fetched candidate, in the order in which the sources brought them. N = len(table).

    table: all columns; of a removed candidate as they stood when it was removed.
    """

    table: CandidateTable
    fate: NDArray[np.object_]  # [N] Fate
    removed_by: NDArray[np.object_]  # [N] the filter's name, "" when no filter removed it
    stage: NDArray[np.object_]  # [N] the Stage that decided, e.g. Filter, Selector, LateFilter
    position: NDArray[np.int64]  # [N] place in the feed from 0, -1 when not served
    rank: NDArray[np.int64]  # [N] place in the selector's ranking from 0, -1 when never ranked


@dataclass(frozen=True, slots=True)
class PipelineResult(Generic[Q]):
    """The answer to one request.

    query: hydrated. selected: the feed, best first. not_selected: the rest of the ranking, the
    truncated ones first. removed_by: filter name → how many it removed, late filters too.
    """

    pipeline: str
    query: Q
    selected: CandidateTable
    not_selected: CandidateTable
    degraded_reasons: tuple[str, ...]
    stages: tuple[StageReport, ...]
    counts: Mapping[Fate, int]
    removed_by: Mapping[str, int]
    latency_ms: float
    ledger: Ledger | None = None

    @property
    def request_id(self) -> str:
        """The query's."""
        return self.query.request_id

    @property
    def fetched_count(self) -> int:
        """Candidates that the sources brought."""
        return sum(self.counts.values())
