"""The best posts come first, in the same order on every run."""

import hypothesis.strategies as st
from hypothesis import given

from home_mixer.params import load_params
from home_mixer.selectors.top_k_score_selector import TopKScoreSelector

NAN = float("nan")
scores = st.lists(
    st.tuples(st.integers(1, 2**64 - 1), st.sampled_from([NAN, -1.5, 0.0, 0.2, 0.9])),
    max_size=20,
    unique_by=lambda pair: pair[0],
)


def ranked(make_table, query, *rows):
    return TopKScoreSelector().select(query, make_table(*rows)).tolist()


def test_best_first_unscored_after_scored_and_nan_last(make_table, make_query):
    rows = [{"post_id": i + 1, "score": s} for i, s in enumerate((NAN, 0.0, -1.2, 0.7))]
    assert ranked(make_table, make_query(), *rows) == [3, 1, 2, 0]


def test_the_newer_of_equal_posts_comes_first(make_table, make_query):
    rows = [{"post_id": i, "score": 0.5} for i in (2**63, 5, 2**64 - 1)]
    assert ranked(make_table, make_query(), *rows) == [2, 0, 1]


def test_the_table_says_how_many_are_selected(make_query):
    query = make_query(params=load_params(overrides={"top_k": 70}))
    assert TopKScoreSelector().size_for(query) == 70
    assert TopKScoreSelector().size_for(make_query()) == 50


@given(scores)
def test_the_order_does_not_depend_on_the_order_of_the_candidates(make_table, make_query, pairs):
    rows = [{"post_id": post_id, "score": score} for post_id, score in pairs]
    forwards = [pairs[i] for i in ranked(make_table, make_query(), *rows)]
    backwards = [pairs[::-1][i] for i in ranked(make_table, make_query(), *rows[::-1])]
    expected = sorted(pairs, key=lambda p: (p[1] != p[1], 0 if p[1] != p[1] else -p[1], -p[0]))
    assert [p[0] for p in forwards] == [p[0] for p in backwards] == [p[0] for p in expected]
