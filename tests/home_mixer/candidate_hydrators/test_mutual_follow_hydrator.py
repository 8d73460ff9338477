"""A mutual follow needs both directions."""

from __future__ import annotations

from typing import Any

from home_mixer.candidate_hydrators.mutual_follow_hydrator import MutualFollowHydrator
from home_mixer.clients.writes import FOLLOW, EdgeChange, FeatureBatch


async def test_both_directions(store: Any, make_query: Any, make_table: Any) -> None:
    edges = [(FOLLOW, author, 1, EdgeChange(1, False)) for author in (5, 7)]
    store.apply(FeatureBatch(edges=edges), {})
    query = make_query(viewer_id=1, followed_user_ids=[5, 6])
    rows = [{"post_id": n, "author_id": a} for n, a in enumerate((5, 6, 7, 8, 5), start=1)]
    columns = await MutualFollowHydrator(store, 100.0).hydrate(query, make_table(*rows))
    assert columns["mutual_follow"].tolist() == [True, False, False, False, True]


async def test_who_follows_nobody_costs_no_round_trip(
    store: Any, make_query: Any, make_table: Any
) -> None:
    table = make_table({"post_id": 1, "author_id": 5})
    columns = await MutualFollowHydrator(store, 100.0).hydrate(make_query(), table)
    assert columns["mutual_follow"].tolist() == [False]
    assert store.calls == []
