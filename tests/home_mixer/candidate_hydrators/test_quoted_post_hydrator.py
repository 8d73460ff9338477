"""Texts and authors of quoted and reposted posts, which mutes and blocks must reach."""

from __future__ import annotations

from typing import Any

import pytest

from candidate_pipeline.errors import Degraded
from home_mixer.candidate_hydrators.quoted_post_hydrator import QuotedPostHydrator
from home_mixer.clients.writes import FeatureBatch, PostContent
from home_mixer.filters.ineligible_subscription_filter import IneligibleSubscriptionFilter


async def test_texts_and_authors_in_one_round_trip(
    store: Any, make_query: Any, make_table: Any, as_lists: Any
) -> None:
    contents = [
        (1, PostContent(51, 1, text="quoted")),
        (2, PostContent(52, 1, text="reposted", subscription_author_id=52)),
        (3, PostContent(53, 1, text="deleted")),
        (12, PostContent(7, 1, quoted_post_id=404, quoted_user_id=54)),
    ]
    store.apply(FeatureBatch(contents=contents, statuses=[(3, True, 9)]), {})
    table = make_table(
        {"post_id": 10, "quoted_post_id": 1},
        {"post_id": 11, "reposted_post_id": 2},
        {"post_id": 12, "quoted_post_id": 404},  # the store does not know the quoted post
        {"post_id": 13, "quoted_post_id": 3},
        {"post_id": 14},
    )
    columns = as_lists(await QuotedPostHydrator(store, 100.0).hydrate(make_query(), table))
    assert columns["quoted_text"] == ["quoted", "", "", "", ""]
    assert columns["quoted_author_id"] == [51, 0, 54, 53, 0]
    assert columns["reposted_text"] == ["", "reposted", "", "", ""]
    assert columns["reposted_subscription_author_id"] == [0, 52, 0, 0, 0]
    assert store.calls == ["get_posts"]


async def test_nothing_quoted_costs_no_round_trip(
    store: Any, make_query: Any, make_table: Any
) -> None:
    await QuotedPostHydrator(store, 100.0).hydrate(make_query(), make_table({"post_id": 10}))
    assert store.calls == []


async def test_in_an_outage_nothing_is_shown_that_shows_what_nobody_knows(
    store: Any, make_query: Any, make_table: Any
) -> None:
    """A blocked author's post must not come back inside somebody else's."""
    contents = [
        (1, PostContent(51, 1, text="quoted")),
        (2, PostContent(52, 1, text="reposted", subscription_author_id=52)),
    ]
    store.apply(FeatureBatch(contents=contents), {})
    hydrator, query = QuotedPostHydrator(store, 100.0), make_query(subscribed_user_ids=[52])
    known = [
        {"post_id": 10, "quoted_post_id": 1, "core_data_found": 1},
        {"post_id": 11, "reposted_post_id": 2, "core_data_found": 1},
        {"post_id": 12, "core_data_found": 1},
    ]
    await hydrator.hydrate(query, make_table(*known))
    unknown = [
        {"post_id": 13, "quoted_post_id": 404, "core_data_found": 1},
        {"post_id": 14, "reposted_post_id": 404, "core_data_found": 1},
        {"post_id": 15, "core_data_found": -1},  # it may quote anything
    ]
    table = make_table(*known, *unknown)
    with pytest.raises(Degraded) as stale:
        hydrator.fail_closed(query, table)
    assert stale.value.reason == "stale"
    columns: Any = stale.value.output
    assert columns["quoted_author_id"].tolist() == [51, 0, 0, 0, 0, 0]
    assert columns["reposted_text"].tolist() == ["", "reposted", "", "", "", ""]
    kept = IneligibleSubscriptionFilter().keep(query, table.with_columns(columns))
    assert kept.tolist() == [True, True, True, False, False, False]
