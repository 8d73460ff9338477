"""Posts behind a subscription are known as such, and stay behind it in an outage."""

from __future__ import annotations

from typing import Any

from candidate_pipeline.components import FailurePolicy
from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.candidate_hydrators.subscription_hydrator import SubscriptionHydrator
from home_mixer.clients.writes import FeatureBatch, PostContent
from home_mixer.filters.ineligible_subscription_filter import IneligibleSubscriptionFilter


async def test_whose_subscribers_may_see_it(store: Any, make_query: Any, make_table: Any) -> None:
    store.apply(FeatureBatch(contents=[(1, PostContent(5, 1, subscription_author_id=5))]), {})
    hydrator = SubscriptionHydrator(SharedPostReads(store), 100.0, FailurePolicy.FAIL_CLOSED)
    table = make_table({"post_id": 1, "author_id": 5}, {"post_id": 2, "author_id": 6})
    columns = await hydrator.hydrate(make_query(), table)
    assert columns["subscription_author_id"].tolist() == [5, 0]


def test_in_an_outage_only_subscribed_authors_are_shown(
    store: Any, make_query: Any, make_table: Any
) -> None:
    hydrator = SubscriptionHydrator(SharedPostReads(store), 100.0, FailurePolicy.FAIL_CLOSED)
    table = make_table({"post_id": 1, "author_id": 5}, {"post_id": 2, "author_id": 6})
    query = make_query(subscribed_user_ids=[6])
    closed = table.with_columns(hydrator.fail_closed(query, table))
    assert IneligibleSubscriptionFilter().keep(query, closed).tolist() == [False, True]
