"""Who counts as in network."""

from __future__ import annotations

from typing import Any

from home_mixer.candidate_hydrators.in_network_hydrator import InNetworkHydrator


def test_followed_accounts_and_oneself(make_query: Any, make_table: Any) -> None:
    query = make_query(viewer_id=1, followed_user_ids=[5])
    rows = [{"post_id": 9, "author_id": author} for author in (5, 6, 1)]
    repost = {"post_id": 8, "author_id": 6, "reposted_post_id": 3, "reposted_user_id": 5}
    columns = InNetworkHydrator().hydrate(query, make_table(*rows, repost))
    assert columns["in_network"].tolist() == [1, 0, 1, 0]  # of a repost the reposter counts
