"""Results as side effects see them."""

from __future__ import annotations

from typing import Any

import pytest

from candidate_pipeline.result import PipelineResult
from candidate_pipeline.table import CandidateTable


@pytest.fixture
def make_result() -> Any:
    """The result of a request that served the table's rows."""

    def make(query: Any, served: CandidateTable) -> PipelineResult[Any]:
        return PipelineResult(
            pipeline="ScoredPosts",
            query=query,
            selected=served,
            not_selected=served.take([]),
            degraded_reasons=(),
            stages=(),
            counts={},
            removed_by={},
            latency_ms=1.0,
        )

    return make
