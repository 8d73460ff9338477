"""A post that two sources found is shown once, with all that both knew about it."""

import hypothesis.strategies as st
from hypothesis import given

from home_mixer.columns import IDENTITY_COLUMNS
from home_mixer.filters.drop_duplicates_filter import DropDuplicatesFilter


def merged(make_table, make_query, *rows):
    table = make_table(*rows)
    keep, columns = DropDuplicatesFilter().merge(make_query(), table)
    return table.with_columns(columns).take(keep).rows()


def test_the_first_row_wins_and_learns_what_it_did_not_know(make_table, make_query):
    thunder = {"post_id": 5, "sources": 1, "author_id": 7, "conversation_id": 3, "in_network": 1}
    phoenix = {"post_id": 5, "sources": 2, "author_id": 9, "text": "hello", "in_network": 0}
    other = {"post_id": 6, "sources": 2, "author_id": 8}
    for first, second in ((thunder, phoenix), (phoenix, thunder)):
        rows = merged(make_table, make_query, first, other, second)
        assert [row["post_id"] for row in rows] == [5, 6]
        assert rows[0]["sources"] == 3
        assert rows[0]["conversation_id"] == 3
        assert rows[0]["text"] == "hello"
        assert rows[0]["author_id"] == first["author_id"]
        assert rows[0]["in_network"] == first["in_network"]


def test_without_duplicates_nothing_is_copied(make_table, make_query):
    keep, columns = DropDuplicatesFilter().merge(
        make_query(), make_table({"post_id": 2}, {"post_id": 1})
    )
    assert keep.tolist() == [True, True]
    assert columns == {}


def test_an_empty_table_is_no_error(make_table, make_query):
    keep, columns = DropDuplicatesFilter().merge(make_query(), make_table())
    assert keep.tolist() == []
    assert columns == {}


@given(data=st.data())
def test_equals_a_walk_over_the_candidates(data, candidate_rows, make_table, make_query):
    rows = data.draw(candidate_rows)
    winners: dict[int, dict] = {}
    for row in make_table(*rows).rows():
        winner = winners.setdefault(row["post_id"], row)
        winner["sources"] |= row["sources"]
        for column in IDENTITY_COLUMNS:
            if winner[column.name] == column.default:
                winner[column.name] = row[column.name]
    names = ("post_id", "sources", *(column.name for column in IDENTITY_COLUMNS))
    actual = merged(make_table, make_query, *rows)
    assert [[row[name] for name in names] for row in actual] == [
        [row[name] for name in names] for row in winners.values()
    ]
