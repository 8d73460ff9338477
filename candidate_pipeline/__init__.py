"""A framework for candidate pipelines: sources, hydrators, filters, scorers, one columnar table.

It imports numpy and the standard library only and knows nothing of posts. See README.md.
"""

from candidate_pipeline.components import (
    Columns,
    Component,
    FailurePolicy,
    Fields,
    Filter,
    Hydrator,
    MergingFilter,
    Query,
    QueryHydrator,
    Scorer,
    Selector,
    SideEffect,
    Source,
)
from candidate_pipeline.errors import (
    BadOutputError,
    ColumnError,
    ConservationError,
    Degraded,
    PipelineFailed,
    WiringError,
)
from candidate_pipeline.observer import LoggingObserver, Observer, summary_line
from candidate_pipeline.pipeline import CandidatePipeline
from candidate_pipeline.ranking import TopKSelector, rank_descending
from candidate_pipeline.result import (
    ComponentReport,
    Fate,
    Ledger,
    PipelineResult,
    Stage,
    StageReport,
)
from candidate_pipeline.schema import Column, Schema
from candidate_pipeline.table import CandidateTable

__all__ = [
    "BadOutputError",
    "CandidatePipeline",
    "CandidateTable",
    "Column",
    "ColumnError",
    "Columns",
    "Component",
    "ComponentReport",
    "ConservationError",
    "Degraded",
    "FailurePolicy",
    "Fate",
    "Fields",
    "Filter",
    "Hydrator",
    "Ledger",
    "LoggingObserver",
    "MergingFilter",
    "Observer",
    "PipelineFailed",
    "PipelineResult",
    "Query",
    "QueryHydrator",
    "Schema",
    "Scorer",
    "Selector",
    "SideEffect",
    "Source",
    "Stage",
    "StageReport",
    "TopKSelector",
    "WiringError",
    "rank_descending",
    "summary_line",
]
