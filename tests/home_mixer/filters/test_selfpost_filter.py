"""Nobody is recommended their own posts."""

from home_mixer.filters.selfpost_filter import SelfpostFilter


def test_only_the_viewers_own_posts_are_removed(make_table, make_query):
    table = make_table({"author_id": 7}, {"author_id": 8}, {"author_id": 2**63 - 1})
    query = make_query(viewer_id=2**63 - 1)
    assert SelfpostFilter().keep(query, table).tolist() == [True, True, False]
