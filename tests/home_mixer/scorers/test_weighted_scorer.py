"""The weighted sum of predicted actions: conditions, boosts, offset, and posts nobody scored."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from home_mixer.columns import HEADS
from home_mixer.params import load_params
from home_mixer.scorers.weighted_scorer import (
    WeightedScorer,
    effective_weights,
    offset_scores,
    score_terms,
    weighted_sums,
)

HOUR_S = 3_600


def scored(make_table, query, *rows):
    table = make_table(*rows)
    return table.with_columns(WeightedScorer().score(query, table)).rows()


def naive_weight(head, row, params):
    weight = params.weights[head]
    original = not row["in_reply_to_post_id"] and not row["reposted_post_id"]
    if head == "reply" and original and row["mutual_follow"]:
        return weight + params.mutual_follow_reply_boost
    if head == "dwell" and original and row["mutual_follow"]:
        return weight + params.mutual_follow_dwell_boost
    if head == "video_quality_view":
        return weight if row["video_duration_ms"] > params.min_video_duration_ms else 0.0
    if head == "post_unexplored":
        return weight if row["in_network"] == 1 else 0.0
    return weight


def naive_offset(s, params):
    if params.weights_sum == 0:
        return max(s, 0.0)
    if s < 0:
        return (s + params.negative_weights_sum) / params.weights_sum * 0.001
    return s + 0.001


@given(data=st.data())
def test_a_posts_sum_is_the_same_to_the_last_digit_whatever_stands_beside_it(
    data, candidate_rows, make_table, make_query
):
    """Else a page could order two posts otherwise than the page before it."""
    rows = data.draw(candidate_rows)
    params = make_query().params
    together = weighted_sums(make_table(*rows), params)
    alone = [weighted_sums(make_table(row), params)[0] for row in rows]
    assert together.tobytes() == np.array(alone, np.float64).tobytes()


@given(data=st.data(), table_name=st.sampled_from(["x-2026-08", "x-2026-10"]))
def test_equals_the_formula_candidate_by_candidate(
    data, table_name, candidate_rows, make_table, make_query
):
    rows = data.draw(candidate_rows)
    params = load_params(table_name, {"mutual_follow_dwell_boost": 2.0})
    for row, got in zip(rows, scored(make_table, make_query(params=params), *rows), strict=True):
        known = [head for head in HEADS if not math.isnan(row[f"p_{head}"])]
        assert got["scored_by_fallback"] == (not known)
        if known:
            s = sum(naive_weight(head, row, params) * row[f"p_{head}"] for head in known)
            assert got["weighted"] == pytest.approx(s, rel=1e-12, abs=1e-12)
            assert got["offset"] == pytest.approx(naive_offset(s, params), rel=1e-9, abs=1e-12)
            assert got["score"] == got["offset"]


def test_the_reply_boost_needs_a_mutual_follow_and_an_original(make_table, make_query):
    base = {"p_reply": 0.1, "post_id": 1}
    rows = (
        base,
        {**base, "mutual_follow": True},
        {**base, "mutual_follow": True, "in_reply_to_post_id": 5},
        {**base, "mutual_follow": True, "reposted_post_id": 5},
    )
    got = scored(make_table, make_query(), *rows)
    assert [row["weighted"] for row in got] == pytest.approx([0.5, 2.0, 0.5, 0.5])


def test_a_video_of_exactly_the_minimum_does_not_count_as_watched(make_table, make_query):
    query = make_query(params=load_params("x-2026-08"))
    rows = [{"p_video_quality_view": 1.0, "video_duration_ms": ms} for ms in (0, 10_000, 10_001)]
    got = scored(make_table, query, *rows)
    assert [row["weighted"] for row in got] == pytest.approx([0.0, 0.0, 0.05])


def test_unexplored_counts_in_network_only(make_table, make_query):
    rows = [{"p_post_unexplored": 1.0, "in_network": state} for state in (-1, 0, 1)]
    got = scored(make_table, make_query(), *rows)
    assert [row["weighted"] for row in got] == pytest.approx([0.0, 0.0, 0.015])


def test_an_unscored_post_is_below_the_worst_scored_one_newest_first(
    make_table, make_query, post_id
):
    worst = {"post_id": post_id(), "p_report": 1.0, "p_block_author": 1.0, "p_mute_author": 1.0}
    fresh, old = {"post_id": post_id(0)}, {"post_id": post_id(6 * HOUR_S)}
    got = scored(make_table, make_query(), worst, fresh, old, {"post_id": 5})
    assert [row["score"] for row in got] == pytest.approx([got[0]["offset"], -1.0, -1.5, -2.0])
    assert got[0]["score"] >= 0.0
    assert [row["scored_by_fallback"] for row in got] == [False, True, True, True]
    assert math.isnan(got[1]["weighted"])


def test_infinite_heads_are_no_heads(make_table, make_query):
    rows = {"p_favorite": math.inf}, {"p_favorite": math.inf, "p_reply": 0.1}
    got = scored(make_table, make_query(), *rows)
    assert got[0]["scored_by_fallback"]
    assert got[1]["weighted"] == pytest.approx(0.5)


def test_terms_add_up_to_the_weighted_sum(make_table, make_query, params):
    table = make_table({f"p_{head}": 0.25 for head in HEADS} | {"in_network": 1})
    terms = score_terms(table, params)
    weights = effective_weights(table, params)
    assert list(terms) == list(HEADS)
    weighted = WeightedScorer().score(make_query(), table)["weighted"]
    assert sum(terms[head][0] for head in HEADS) == weighted[0]
    assert all(terms[head][0] == weights[head][0] * 0.25 for head in HEADS)


def test_a_score_does_not_depend_on_the_other_candidates(make_table, make_query):
    rng = np.random.default_rng(0)
    rows = [{f"p_{head}": rng.random() for head in HEADS} for _ in range(37)]
    together = [row["weighted"] for row in scored(make_table, make_query(), *rows)]
    alone = [scored(make_table, make_query(), row)[0]["weighted"] for row in rows]
    assert together == alone


@given(st.lists(st.floats(-371.54, 1e4), min_size=2, max_size=2))
def test_the_offset_keeps_the_order_and_is_never_negative(values):
    low, high = offset_scores(np.sort(values), load_params("x-2026-10"))
    assert 0.0 <= low <= high


def test_a_table_without_weights_gives_zero_instead_of_dividing_by_it(make_table, make_query):
    empty = load_params(overrides={f"weights.{head}": 0 for head in HEADS})
    got = scored(make_table, make_query(params=empty), {"p_favorite": 0.9})
    assert got[0]["offset"] == 0.0
