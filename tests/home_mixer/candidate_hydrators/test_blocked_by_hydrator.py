"""Whoever blocks the viewer is not shown, not even through others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from candidate_pipeline.components import FailurePolicy
from candidate_pipeline.errors import Degraded
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


async def test_in_an_outage_last_known_blocks_hold_and_all_others_may_block(
    store: Any, make_query: Any, make_table: Any
) -> None:
    store.apply(FeatureBatch(edges=[(BLOCK, 66, 1, EdgeChange(1, False))]), {})
    hydrator = BlockedByHydrator(store, 100.0, FailurePolicy.FAIL_CLOSED, stale_ms=60_000)
    query = make_query(viewer_id=1)
    seen = make_table({"post_id": 1, "author_id": 5}, {"post_id": 2, "author_id": 66})
    await hydrator.hydrate(query, seen)
    table = make_table(
        {"post_id": 3, "author_id": 5},
        {"post_id": 4, "author_id": 66},
        {"post_id": 5, "author_id": 7},  # never asked about
        {"post_id": 6, "author_id": 5, "quoted_author_id": 7},
    )
    with pytest.raises(Degraded) as stale:
        hydrator.fail_closed(replace(query, now_ms=query.now_ms + 60_000), table)
    assert stale.value.reason == "stale"
    assert stale.value.output is not None
    blocked: Any = stale.value.output["author_blocks_viewer"]
    assert blocked.tolist() == [False, True, True, True]
    for other in (make_query(viewer_id=2), replace(query, now_ms=query.now_ms + 60_001)):
        closed = hydrator.fail_closed(other, table)
        assert closed["author_blocks_viewer"].tolist() == [True] * 4
