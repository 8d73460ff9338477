"""What the client has shown does not come back, whether it says so by ids or by Bloom filters."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from home_mixer.bloom import BloomFilter
from home_mixer.filters.previously_seen_posts_filter import PreviouslySeenPostsFilter

POST = {"post_id": 100}
REPOST_OF_1 = {"post_id": 101, "reposted_post_id": 1}
REPLY_TO_2 = {"post_id": 102, "in_reply_to_post_id": 2}


def bloom(*ids):
    return BloomFilter.build(np.array(ids, np.uint64), num_bits=4_096, num_hashes=8)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([100], [False, True, True]),
        ([1], [True, False, True]),
        ([2], [True, True, False]),
        ([1, 2, 100], [False, False, False]),
        ([3], [True, True, True]),
    ],
)
def test_a_post_its_original_and_its_parent_count_as_seen(seen, expected, make_table, make_query):
    table = make_table(POST, REPOST_OF_1, REPLY_TO_2)
    by_ids = make_query(seen_ids=seen)
    by_bloom = make_query(bloom_filters=(bloom(77), bloom(*seen)))
    assert PreviouslySeenPostsFilter().keep(by_ids, table).tolist() == expected
    assert PreviouslySeenPostsFilter().keep(by_bloom, table).tolist() == expected


def test_ids_and_filters_add_up(make_table, make_query):
    query = make_query(seen_ids=[100], bloom_filters=(bloom(1), bloom(2)))
    table = make_table(POST, REPOST_OF_1, REPLY_TO_2, {"post_id": 103})
    keep = PreviouslySeenPostsFilter().keep(query, table)
    assert keep.tolist() == [False, False, False, True]


def test_is_off_for_a_client_that_says_nothing(make_query):
    assert not PreviouslySeenPostsFilter().enable(make_query())
    assert PreviouslySeenPostsFilter().enable(make_query(seen_ids=[1]))
    assert PreviouslySeenPostsFilter().enable(make_query(bloom_filters=(bloom(1),)))


@given(data=st.data())
def test_equals_a_walk_over_the_candidates(data, candidate_rows, make_table, make_query):
    rows = data.draw(candidate_rows)
    ids = [row["post_id"] for row in rows] + [row["in_reply_to_post_id"] for row in rows]
    seen = {i for i in data.draw(st.sets(st.sampled_from(ids or [1]))) if i}
    expected = [
        not seen & {row["post_id"], row["reposted_post_id"], row["in_reply_to_post_id"]}
        for row in rows
    ]
    keep = PreviouslySeenPostsFilter().keep(make_query(seen_ids=list(seen)), make_table(*rows))
    assert keep.tolist() == expected
