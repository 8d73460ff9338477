"""Blocks and mutes survive an outage of the graph: last known while fresh, then closed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from candidate_pipeline.errors import Degraded
from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.protocols import StoreError, UserFeatures
from home_mixer.clients.writes import BLOCK, FOLLOW, MUTE, SUBSCRIBE, EdgeChange, FeatureBatch
from home_mixer.query_hydrators.user_features_query_hydrator import UserFeaturesQueryHydrator


class FlakyGraph(MemoryFeatureStore):
    down = False

    async def get_features(self, user_id: int) -> UserFeatures:
        if self.down:
            raise StoreError("the disk is gone")
        return await super().get_features(user_id)


@pytest.fixture
def graph() -> FlakyGraph:
    store = FlakyGraph()
    edges = [(k, 1, 10 * k, EdgeChange(1, False)) for k in (FOLLOW, BLOCK, MUTE, SUBSCRIBE)]
    words = [(1, "spoiler", EdgeChange(1, False))]
    store.apply(FeatureBatch(edges=edges, keywords=words), {})
    return store


def hydrator_of(graph: FlakyGraph, cached_viewers_max: int = 10) -> UserFeaturesQueryHydrator:
    return UserFeaturesQueryHydrator(
        graph, 100.0, stale_ms=60_000, cached_viewers_max=cached_viewers_max
    )


async def test_all_lists_of_the_viewer(graph: FlakyGraph, make_query: Any) -> None:
    fields: Any = await hydrator_of(graph).hydrate(make_query())
    assert fields["followed_user_ids"].tolist() == [10]
    assert fields["blocked_user_ids"].tolist() == [20]
    assert fields["muted_user_ids"].tolist() == [30]
    assert fields["subscribed_user_ids"].tolist() == [40]
    assert fields["muted_keywords"] == ("spoiler",)
    assert fields["user_features_age_ms"] == 0


async def test_an_unknown_viewer_is_known_to_have_none(graph: FlakyGraph, make_query: Any) -> None:
    fields: Any = await hydrator_of(graph).hydrate(make_query(viewer_id=9))
    assert fields["blocked_user_ids"].tolist() == []
    assert fields["user_features_age_ms"] == 0


async def test_in_an_outage_the_last_known_lists_hold(graph: FlakyGraph, make_query: Any) -> None:
    """However the outage shows: as an error, as silence, or as an open circuit."""
    hydrator, query = hydrator_of(graph), make_query()
    await hydrator.hydrate(query)
    with pytest.raises(Degraded) as caught:
        hydrator.fail_closed(replace(query, now_ms=query.now_ms + 60_000))
    assert caught.value.reason == "stale"
    assert caught.value.output is not None
    assert caught.value.output["user_features_age_ms"] == 60_000
    assert caught.value.output["blocked_user_ids"].tolist() == [20]  # type: ignore[attr-defined]


async def test_lists_that_are_too_old_are_not_used(graph: FlakyGraph, make_query: Any) -> None:
    hydrator, query = hydrator_of(graph), make_query()
    await hydrator.hydrate(query)
    graph.down = True
    with pytest.raises(StoreError):
        await hydrator.hydrate(query)
    fields: Any = hydrator.fail_closed(replace(query, now_ms=query.now_ms + 60_001))
    assert fields["user_features_age_ms"] == -1
    assert fields["followed_user_ids"].tolist() == []


async def test_only_so_many_viewers_are_remembered(graph: FlakyGraph, make_query: Any) -> None:
    hydrator = hydrator_of(graph, cached_viewers_max=1)
    await hydrator.hydrate(make_query(viewer_id=1))
    await hydrator.hydrate(make_query(viewer_id=2))
    assert hydrator.fail_closed(make_query(viewer_id=1))["user_features_age_ms"] == -1
    with pytest.raises(Degraded):
        hydrator.fail_closed(make_query(viewer_id=2))
