"""A second post of one author counts less, whoever else is in the feed."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from home_mixer.params import load_params
from home_mixer.scorers.author_diversity_scorer import AuthorDiversityScorer
from home_mixer.scorers.weighted_scorer import WeightedScorer


def diversity(make_table, query, *rows):
    return AuthorDiversityScorer().score(query, make_table(*rows))["diversity"].tolist()


def test_multipliers_follow_the_rank_by_offset_not_the_order_of_the_list(make_table, make_query):
    offsets = (0.2, 0.9, 0.5, 0.1, 0.3)
    rows = [{"post_id": i + 1, "author_id": 7, "offset": x} for i, x in enumerate(offsets)]
    expected = [0.34375, 1.0, 0.625, 0.296875, 0.4375]
    assert diversity(make_table, make_query(), *rows) == expected


def test_of_equal_posts_the_newer_one_is_the_first(make_table, make_query):
    rows = [{"post_id": i, "author_id": 7, "offset": 0.5} for i in (3, 9, 5)]
    assert diversity(make_table, make_query(), *rows) == [0.4375, 1.0, 0.625]


def test_reposts_count_for_the_reposter_unless_told_otherwise(make_table, make_query):
    rows = (
        {"post_id": 1, "author_id": 7, "offset": 0.9},
        {"post_id": 2, "author_id": 8, "reposted_user_id": 7, "offset": 0.5},
    )
    by_original = load_params(overrides={"author_diversity_by_original_author": True})
    assert diversity(make_table, make_query(), *rows) == [1.0, 1.0]
    assert diversity(make_table, make_query(params=by_original), *rows) == [1.0, 0.625]


def test_can_be_switched_off(make_query):
    off = load_params(overrides={"enable_author_diversity": False})
    assert AuthorDiversityScorer().enable(make_query())
    assert not AuthorDiversityScorer().enable(make_query(params=off))


def test_an_unscored_post_stays_below_scored_ones_after_the_multiplier(
    make_table, make_query, post_id
):
    rows = (
        {"post_id": post_id(0), "author_id": 7},
        {"post_id": post_id(1), "author_id": 7, "p_report": 1.0},
    )
    table = make_table(*rows)
    table = table.with_columns(WeightedScorer().score(make_query(), table))
    table = table.with_columns(AuthorDiversityScorer().score(make_query(), table))
    assert table["diversity"].tolist() == [0.625, 1.0]
    assert table["score"][0] == pytest.approx(1.0 * 0.625 - 2.0)
    assert table["score"][1] > 0.0


@given(data=st.data())
def test_equals_a_walk_over_the_candidates(data, candidate_rows, make_table, make_query):
    rows = data.draw(candidate_rows)
    table = make_table(*rows)
    table = table.with_columns(WeightedScorer().score(make_query(), table))
    got = table.with_columns(AuthorDiversityScorer().score(make_query(), table)).rows()
    seen: dict[int, int] = {}
    best_first = sorted(
        got, key=lambda row: (row["scored_by_fallback"], -row["offset"], -row["post_id"])
    )
    for row in best_first:
        k = seen.get(row["author_id"], 0)
        seen[row["author_id"]] = k + 1
        assert row["diversity"] == 0.75 * 0.5**k + 0.25
        shift = 2.0 if row["scored_by_fallback"] else 0.0
        assert math.isclose(row["score"], row["offset"] * row["diversity"] - shift)


def test_an_empty_table_is_no_error(make_table, make_query):
    assert diversity(make_table, make_query()) == []
