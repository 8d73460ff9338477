"""Muted, blocked and blocking accounts stay away, also through reposts and quotes."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from home_mixer.filters.author_socialgraph_filter import AuthorSocialgraphFilter

AUTHORS = ("author_id", "reposted_user_id", "quoted_author_id")


@pytest.mark.parametrize("column", AUTHORS)
@pytest.mark.parametrize("relation", ["blocked_user_ids", "muted_user_ids"])
def test_no_way_into_the_feed_for_an_unwanted_account(column, relation, make_table, make_query):
    table = make_table({"author_id": 5, column: 9}, {"author_id": 5, column: 8})
    keep = AuthorSocialgraphFilter().keep(make_query(**{relation: [9]}), table)
    assert keep.tolist() == [False, True]


def test_an_account_that_blocks_the_viewer_is_not_shown(make_table, make_query):
    table = make_table({"author_id": 5, "author_blocks_viewer": True}, {"author_id": 5})
    assert AuthorSocialgraphFilter().keep(make_query(), table).tolist() == [False, True]


@given(data=st.data())
def test_equals_a_walk_over_the_candidates(data, candidate_rows, make_table, make_query):
    rows = data.draw(candidate_rows)
    blocked, muted = (data.draw(st.sets(st.integers(1, 6))) for _ in range(2))
    expected = [
        not row["author_blocks_viewer"]
        and not any(row[name] in blocked | muted for name in AUTHORS)
        for row in rows
    ]
    query = make_query(blocked_user_ids=list(blocked), muted_user_ids=list(muted))
    assert AuthorSocialgraphFilter().keep(query, make_table(*rows)).tolist() == expected
