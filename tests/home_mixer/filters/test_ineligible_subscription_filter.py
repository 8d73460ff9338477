"""Paid posts reach subscribers only."""

from home_mixer.filters.ineligible_subscription_filter import IneligibleSubscriptionFilter


def test_posts_for_subscribers_need_the_viewers_subscription(make_table, make_query):
    table = make_table(
        {"subscription_author_id": 0},
        {"subscription_author_id": 5},
        {"subscription_author_id": 6},
        {"subscription_author_id": 99},
    )
    query = make_query(subscribed_user_ids=[5, 42])
    keep = IneligibleSubscriptionFilter().keep(query, table)
    assert keep.tolist() == [True, True, False, False]


def test_a_repost_does_not_open_a_paid_post(make_table, make_query):
    table = make_table(
        {"post_id": 1, "reposted_post_id": 9, "reposted_subscription_author_id": 5},
        {"post_id": 2, "reposted_post_id": 8, "reposted_subscription_author_id": 6},
        {"post_id": 3, "reposted_post_id": 7},
    )
    keep = IneligibleSubscriptionFilter().keep(make_query(subscribed_user_ids=[5]), table)
    assert keep.tolist() == [True, False, True]


def test_without_any_subscription_all_paid_posts_are_removed(make_table, make_query):
    table = make_table({"subscription_author_id": 5}, {"subscription_author_id": 0})
    assert IneligibleSubscriptionFilter().keep(make_query(), table).tolist() == [False, True]
