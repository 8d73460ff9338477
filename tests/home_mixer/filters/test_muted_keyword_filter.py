"""A muted word is not read: in the post, in what it reposts, in what it quotes."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from home_mixer.columns import UNKNOWN, YES
from home_mixer.filters.muted_keyword_filter import CUT_INLINE_MAX, MutedKeywordFilter
from home_mixer.params import load_params

TEXTS = ("text", "reposted_text", "quoted_text")


@pytest.mark.parametrize("column", TEXTS)
def test_own_reposted_and_quoted_text_are_searched(column, make_table, make_query):
    table = make_table(
        {column: "I saw the Spoiler!", "core_data_found": YES},
        {column: "I saw nothing", "core_data_found": YES},
    )
    keep = MutedKeywordFilter().keep(make_query(muted_keywords=("spoiler",)), table)
    assert keep.tolist() == [False, True]


def test_is_off_without_muted_keywords(make_query):
    assert not MutedKeywordFilter().enable(make_query())
    assert MutedKeywordFilter().enable(make_query(muted_keywords=("x",)))


def test_a_text_that_could_not_be_read_is_judged_as_muted_unless_told_otherwise(
    make_table, make_query
):
    table = make_table({"core_data_found": UNKNOWN}, {"core_data_found": YES})
    lenient = load_params(overrides={"enable_fail_closed_muted_keywords": False})
    closed = MutedKeywordFilter().keep(make_query(muted_keywords=("x",)), table)
    opened = MutedKeywordFilter().keep(make_query(muted_keywords=("x",), params=lenient), table)
    assert closed.tolist() == [False, True]
    assert opened.tolist() == [True, True]


def test_the_cache_of_tokens_is_bounded_and_changes_no_answer(make_table, make_query):
    small = MutedKeywordFilter(cached_texts_max=1)
    rows = [{"text": f"word{i}", "core_data_found": YES} for i in (1, 2, 1, 3)]
    query = make_query(muted_keywords=("word1",))
    assert small.keep(query, make_table(*rows)).tolist() == [False, True, False, True]


@given(data=st.data())
def test_equals_a_walk_over_the_candidates(data, candidate_rows, make_table, make_query):
    rows = data.draw(candidate_rows)
    muted = data.draw(st.sets(st.sampled_from(["cat", "cats", "breaking news"]), min_size=1))
    words = {
        "": [],
        "a cat": ["cat"],
        "dogs & cats": ["cats"],
        "breaking news today": ["breaking news"],
        "news": [],
    }
    expected = [
        row["core_data_found"] != UNKNOWN
        and not any(word in muted for name in TEXTS for word in words[row[name]])
        for row in rows
    ]
    query = make_query(muted_keywords=tuple(muted))
    assert MutedKeywordFilter().keep(query, make_table(*rows)).tolist() == expected


async def test_many_new_texts_are_cut_off_the_event_loop_and_judged_alike(make_table, make_query):
    """Thousands of texts at once would hold up every other feed of the process."""
    rows = [{"text": f"word{i}", "core_data_found": YES} for i in range(CUT_INLINE_MAX + 5)]
    query, table = make_query(muted_keywords=("word1",)), make_table(*rows)
    muted = MutedKeywordFilter()
    later = muted.keep(query, table)
    assert not isinstance(later, np.ndarray)
    mask = await later
    assert [row for row, kept in enumerate(mask.tolist()) if not kept] == [1]
    assert muted.keep(query, table).tolist() == mask.tolist()  # all are known now
