"""Whoever blocks the viewer is not shown, not even through others."""

from __future__ import annotations

from typing import Any

from candidate_pipeline.components import FailurePolicy
from home_mixer.candidate_hydrators.blocked_by_hydrator import BlockedByHydrator
from home_mixer.clients.writes import BLOCK, EdgeChange, FeatureBatch


async def test_author_reposted_and_quoted_author(
    store: Any, make_query: Any, make_table: Any
) -> None:
    store.apply(FeatureBatch(edges=[(BLOCK, 66, 1, EdgeChange(1, False))]), {})
    table = make_table(
        {"post_id": 1, "author_id": 5},
        {"post_id": 2, "author_id": 66},
        {"post_id": 3, "author_id": 5, "reposted_user_id": 66},
        {"post_id": 4, "author_id": 5, "quoted_author_id": 66},
    )
    hydrator = BlockedByHydrator(store, 100.0, FailurePolicy.FAIL_CLOSED)
    columns = await hydrator.hydrate(make_query(viewer_id=1), table)
    assert columns["author_blocks_viewer"].tolist() == [False, True, True, True]
    assert store.calls == ["blocks_viewer"]
    columns = hydrator.fail_closed(make_query(), table)
    assert columns["author_blocks_viewer"].tolist() == [True] * 4
