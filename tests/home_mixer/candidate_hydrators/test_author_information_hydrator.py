"""Names of authors and of reposted authors."""

from __future__ import annotations

from typing import Any

from home_mixer.candidate_hydrators.author_information_hydrator import AuthorInformationHydrator
from home_mixer.clients.writes import FeatureBatch, Profile


async def test_author_and_reposted_author(
    store: Any, make_query: Any, make_table: Any, as_lists: Any
) -> None:
    profiles = [(5, Profile(1, "ana", True, 12)), (6, Profile(1, "bo", False, 3))]
    store.apply(FeatureBatch(profiles=profiles), {})
    table = make_table(
        {"post_id": 1, "author_id": 5},
        {"post_id": 2, "author_id": 6, "reposted_user_id": 5},
        {"post_id": 3, "author_id": 404},
        {"post_id": 4, "author_id": 5},
    )
    columns = as_lists(await AuthorInformationHydrator(store, 100.0).hydrate(make_query(), table))
    assert columns["author_screen_name"] == ["ana", "bo", "", "ana"]
    assert columns["reposted_screen_name"] == ["", "ana", "", ""]
    assert columns["author_verified"] == [True, False, False, True]
    assert columns["author_followers_count"] == [12, 3, -1, 12]
    assert store.calls == ["get_profiles"]


def test_feeds_read_names_late_and_explanations_those_of_all_posts(make_query: Any) -> None:
    """An explanation without the names of removed posts' authors, or a feed that reads all."""
    store: Any = None
    late = AuthorInformationHydrator(store, 100.0)
    early = AuthorInformationHydrator(store, 100.0, explained=True)
    feed, explanation = make_query(), make_query(leaves_traces=False)
    assert (late.enable(feed), early.enable(feed)) == (True, False)
    assert (late.enable(explanation), early.enable(explanation)) == (False, True)
    assert late.name == "AuthorInformationHydrator" != early.name
