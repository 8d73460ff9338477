"""Old posts leave the feed; the boundary belongs to the feed."""

from home_mixer.filters.age_filter import AgeFilter

TWO_DAYS_S = 172_800


def test_a_post_exactly_two_days_old_is_kept_and_one_a_millisecond_older_removed(
    make_table, make_query, post_id
):
    ages = (0, 3_600, TWO_DAYS_S, TWO_DAYS_S + 0.001)
    table = make_table(*({"post_id": post_id(age)} for age in ages))
    assert AgeFilter().keep(make_query(), table).tolist() == [True, True, True, False]


def test_an_id_without_a_time_is_removed(make_table, make_query):
    table = make_table(
        {"post_id": 12_345}, {"post_id": 362_387_865_599_999}, {"post_id": 2**64 - 1}
    )
    assert AgeFilter().keep(make_query(now_ms=0), table).tolist() == [False, False, False]


def test_an_empty_table_is_no_error(make_table, make_query):
    assert AgeFilter().keep(make_query(), make_table()).tolist() == []
