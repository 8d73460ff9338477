"""An original and its reposts take one place in the feed."""

import hypothesis.strategies as st
from hypothesis import given

from home_mixer.filters.repost_deduplication_filter import RepostDeduplicationFilter

ORIGINAL = {"post_id": 10}
REPOST = {"post_id": 20, "reposted_post_id": 10}
OTHER_REPOST = {"post_id": 21, "reposted_post_id": 10}


def kept(make_table, make_query, *rows):
    return RepostDeduplicationFilter().keep(make_query(), make_table(*rows)).tolist()


def test_the_original_first_removes_its_reposts(make_table, make_query):
    assert kept(make_table, make_query, ORIGINAL, REPOST, OTHER_REPOST) == [True, False, False]


def test_a_repost_first_removes_the_original(make_table, make_query):
    assert kept(make_table, make_query, REPOST, ORIGINAL, OTHER_REPOST) == [True, False, False]


@given(data=st.data())
def test_equals_a_walk_over_the_candidates(data, candidate_rows, make_table, make_query):
    rows = data.draw(candidate_rows)
    seen, expected = set(), []
    for row in rows:
        key = row["reposted_post_id"] or row["post_id"]
        expected.append(key not in seen)
        seen.add(key)
    assert kept(make_table, make_query, *rows) == expected
