"""The last request of a viewer can be looked up."""

from __future__ import annotations

from typing import Any

from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.side_effects.request_info_cache_side_effect import RequestInfoCacheSideEffect


async def test_the_request_is_remembered(
    make_query: Any, make_table: Any, make_result: Any
) -> None:
    store, query = MemoryFeatureStore(), make_query(request_id="5-1")
    table = make_table({"post_id": 10}, {"post_id": 11})
    await RequestInfoCacheSideEffect(store, 100.0).run(query, make_result(query, table))
    info = await store.get_request(query.viewer_id)
    assert info is not None
    assert (info.request_id, info.served_at_ms) == ("5-1", query.now_ms)
    assert info.params_hash == query.params.params_hash
    assert info.post_ids.tolist() == [10, 11]


def test_following_feeds_are_not_remembered(make_query: Any) -> None:
    effect = RequestInfoCacheSideEffect(MemoryFeatureStore(), 100.0)
    assert effect.enable(make_query())
    assert not effect.enable(make_query(in_network_only=True))
