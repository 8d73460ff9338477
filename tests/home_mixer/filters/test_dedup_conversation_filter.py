"""One conversation takes one place in the feed: its best post's."""

import math

import hypothesis.strategies as st
from hypothesis import given

from home_mixer.filters.dedup_conversation_filter import DedupConversationFilter
from home_mixer.serving.responses import ancestors


def kept(make_table, make_query, *rows):
    return DedupConversationFilter().keep(make_query(), make_table(*rows)).tolist()


def row(post_id, ancestors, score, reposted_post_id=0):
    parent, root = (*ancestors, 0, 0)[:2]
    return {
        "post_id": post_id,
        "in_reply_to_post_id": parent,
        "conversation_id": root,
        "score": score,
        "reposted_post_id": reposted_post_id,
    }


def test_a_repost_of_the_root_meets_the_roots_replies(make_table, make_query):
    rows = row(30, (), 0.4, reposted_post_id=1), row(10, (1,), 0.3), row(31, (), 0.2)
    assert kept(make_table, make_query, *rows) == [True, False, True]


def test_of_equal_scores_the_first_stays(make_table, make_query):
    assert kept(make_table, make_query, row(10, (1,), 0.5), row(11, (1,), 0.5)) == [True, False]


def test_a_score_of_nan_loses_against_every_other(make_table, make_query):
    rows = row(10, (1,), math.nan), row(11, (1,), -1.5)
    assert kept(make_table, make_query, *rows) == [False, True]


@given(data=st.data())
def test_equals_a_walk_over_the_candidates(data, candidate_rows, make_table, make_query):
    rows = data.draw(candidate_rows)
    best: dict[int, int] = {}
    for index, item in enumerate(rows):
        above = ancestors(item["in_reply_to_post_id"], item["conversation_id"])
        key = min(above, default=item["reposted_post_id"] or item["post_id"])
        held = rows[best[key]]["score"] if key in best else math.nan
        if key not in best or item["score"] > held or (math.isnan(held) and item["score"] >= 0):
            best[key] = index
    assert kept(make_table, make_query, *rows) == [i in best.values() for i in range(len(rows))]
