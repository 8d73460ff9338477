"""What was served is remembered, originals of reposts included."""

from __future__ import annotations

from typing import Any

from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.side_effects.served_history_side_effect import ServedHistorySideEffect


async def test_posts_and_originals_are_remembered(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    store, query = MemoryFeatureStore(), make_query()
    table = make_table({"post_id": 10}, {"post_id": 11, "reposted_post_id": 5})
    await ServedHistorySideEffect(store, 100.0).run(query, make_result(query, table))
    remembered = await store.served_since(query.viewer_id, query.now_ms, 10)
    assert sorted(remembered.tolist()) == [5, 10, 11]


async def test_an_empty_feed_leaves_no_trace(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    store, query = MemoryFeatureStore(), make_query()
    await ServedHistorySideEffect(store, 100.0).run(query, make_result(query, make_table()))
    assert len(await store.served_since(query.viewer_id, 0, 10)) == 0
