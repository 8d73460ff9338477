"""Scrolling down and coming back bring new posts."""

from home_mixer.filters.previously_served_posts_filter import PreviouslyServedPostsFilter
from home_mixer.params import load_params


def test_served_posts_of_the_session_and_of_the_history_are_removed(make_table, make_query):
    table = make_table(
        {"post_id": 10},
        {"post_id": 11},
        {"post_id": 12, "reposted_post_id": 10},
        {"post_id": 13, "in_reply_to_post_id": 11},
        {"post_id": 14},
    )
    query = make_query(served_ids=[10], served_history_ids=[11])
    keep = PreviouslyServedPostsFilter().keep(query, table)
    assert keep.tolist() == [False, False, False, False, True]


def test_a_first_visit_loses_nothing(make_table, make_query):
    table = make_table({"post_id": 10}, {"post_id": 11, "reposted_post_id": 0})
    assert PreviouslyServedPostsFilter().keep(make_query(), table).tolist() == [True, True]


def test_the_switch_restricts_it_to_bottom_requests(make_query):
    january = load_params(overrides={"enable_served_filter_all_requests": False})
    component = PreviouslyServedPostsFilter()
    assert component.enable(make_query())
    assert not component.enable(make_query(params=january))
    assert component.enable(make_query(params=january, is_bottom_request=True))
