"""A text that was cut before mutes as one that is cut now, whatever was kept in between."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from home_mixer.known_texts import NOT_KNOWN, KnownTexts, cut_text
from home_mixer.tokenizer import KeywordMatcher, tokenize_text

WORDS = ("cat", "cats", "#cat", "dog", "news", "breaking", "$tsla", "猫", "one", "two")
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join), max_size=12)
keywords = st.lists(st.lists(st.sampled_from(WORDS), max_size=2).map(" ".join), max_size=4)


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def judged(known, ids, asked, matcher):
    """Rows of texts with a keyword, new ones cut on the way, as the filter does it."""
    rows = known.find(np.array(ids, np.uint64), objects(asked))
    is_known = rows != NOT_KNOWN
    found = np.flatnonzero(is_known)[known.which(rows[is_known], matcher)].tolist()
    new = [(row, asked[row]) for row in np.flatnonzero(~is_known).tolist()]
    cuts = [cut_text(text) for _, text in new]
    hits = matcher.which([cut.tokens for cut in cuts])
    known.remember([text for _, text in new], cuts)
    return sorted({*found, *(new[at][0] for at in hits)})


@given(st.data(), st.sampled_from([1, 3, 64]))
def test_equals_judging_every_text_anew(data, texts_max):
    """Ids repeat with other texts, texts with other ids, and little is kept: nothing may show."""
    known = KnownTexts(texts_max)
    for _ in range(3):
        asked = data.draw(texts)
        ids = [data.draw(st.integers(0, 5)) for _ in asked]
        matcher = KeywordMatcher(data.draw(keywords))
        expected = [row for row, text in enumerate(asked) if matcher.matches(tokenize_text(text))]
        assert judged(known, ids, asked, matcher) == expected


@pytest.mark.parametrize("count", [1, 200], ids=["few keywords", "many keywords"])
def test_many_known_texts_are_judged_by_their_marks_alike(count):
    rng = np.random.default_rng(0)
    asked = [" ".join(f"w{i}" for i in rng.integers(0, 900, 30)) for _ in range(500)]
    matcher = KeywordMatcher([f"w{i}" for i in range(count)] + ["w7 w8", "!"])
    known, ids = KnownTexts(512), range(500)
    judged(known, ids, asked, matcher)
    expected = [row for row, text in enumerate(asked) if matcher.matches(tokenize_text(text))]
    assert expected
    assert judged(known, ids, asked, matcher) == expected


def test_the_oldest_text_makes_room_and_the_newest_stay():
    """A table that forgot what it just cut would cut every text of every feed again."""
    known = KnownTexts(2)
    known.remember("abc", map(cut_text, "abc"))
    rows = known.find(np.array([1, 2, 3], np.uint64), objects(["a", "b", "c"]))
    assert (rows != NOT_KNOWN).tolist() == [False, True, True]


def test_a_text_that_is_kept_already_is_not_kept_twice():
    """Two requests may cut the same text at the same time."""
    known = KnownTexts(2)
    known.remember("ab", map(cut_text, "ab"))
    known.remember("bbb", map(cut_text, "bbb"))
    rows = known.find(np.array([1, 2], np.uint64), objects(["a", "b"]))
    assert (rows != NOT_KNOWN).all()
