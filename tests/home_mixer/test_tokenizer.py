"""What a muted keyword mutes, in any script, and what it leaves alone."""

import re
import sys
import unicodedata

import hypothesis.strategies as st
import pytest
from hypothesis import given

from home_mixer.tokenizer import (
    KeywordMatcher,
    _unicode_tokens,
    fold,
    tokenize_keyword,
    tokenize_text,
)


def mutes(keyword, text):
    return KeywordMatcher([keyword]).matches(tokenize_text(text))


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("cat", "The CAT sat."),
        ("Cat", "cat"),
        ("cat", "a (cat), a dog"),
        ("cat", "#Cat of the day"),
        ("tsla", "$TSLA to the moon"),
        ("#cat", "look: #cat"),
        ("@bob", "thanks @Bob!"),
        ("breaking news", "BREAKING   news: nothing"),
        ("breaking news", "#breaking #news"),
        ("don't", "I don’t know"),
        ("STRASSE", "an der Straße"),
        ("café", "un cafe\u0301 noir"),
        ("ﬁne", "fine"),
        ("fullwidth", "ｆｕｌｌｗｉｄｔｈ"),
        ("cat", "c\u200bat"),
        ("हिन्दी", "यह हिन्दी है"),
        ("नमस्ते", "नमस्ते!"),
        ("猫", "我有一只猫在家"),
        ("ネタバレ", "これはネタバレです"),
        ("แมว", "ฉันรักแมวมาก"),
        ("선거", "내일 선거 있어요"),
        ("😂", "so funny 😂😂"),
        ("👍", "ok 👍🏽"),
        ("❤", "love ❤️"),
        ("👩‍💻", "work 👩‍💻 day"),
        ("🇩🇪", "go 🇩🇪🇫🇷"),
        ("c++", "I like C++ a lot"),
        ("s.p.o.i.l.e.r", "S P O I L E R"),
    ],
)
def test_mutes(keyword, text):
    assert mutes(keyword, text)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("cat", "concatenate the category"),
        ("#cat", "cat"),
        ("#cat", "#catalogue"),
        ("bob", "thanks @bob"),
        ("breaking news", "news breaking"),
        ("breaking news", "breaking bad news"),
        ("कि", "का"),
        ("👩", "👩‍💻"),
        ("🇩🇪", "🇫🇷🇩"),
        ("!!!", "what!!!"),
        ("", "anything"),
        ("   ", "anything at all"),
        ("cat", ""),
        ("犬", "我有一只猫"),
    ],
)
def test_leaves_alone(keyword, text):
    assert not mutes(keyword, text)


def test_one_match_among_many_keywords_is_enough():
    matcher = KeywordMatcher(["x", "two words", "猫", "y"])
    assert matcher.matches(tokenize_text("just two words"))
    assert matcher.matches(tokenize_text("黒猫"))
    assert not matcher.matches(tokenize_text("two other words"))
    assert not KeywordMatcher([]).matches(tokenize_text("two words"))


mixed = st.text(
    st.one_of(st.sampled_from("ab1_#@$' '’+é猫ক👍🏽🇩🇪\u200d\u0301😂—。"), st.characters())
)


@given(st.one_of(st.text(st.characters(max_codepoint=127)), mixed))
def test_the_fast_way_cuts_as_the_walk_over_characters(text):
    assert tokenize_text(text).tokens == tuple(_unicode_tokens(fold(text)))


def test_invisible_characters_are_those_of_unicode():
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        hidden = unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f"
        if hidden and char != "\u200d":
            assert fold(f"a{char}b") == "ab", hex(code)


@given(st.text(max_size=40))
def test_any_text_is_cut_without_error_and_mutes_itself(text):
    tokens = tokenize_keyword(text)
    assert all(tokens)
    if tokens:
        assert mutes(text, text)
        assert mutes(text, text.upper().lower()) or text.upper().lower() != text
    assert fold(fold(text)) == fold(text) or not unicodedata.is_normalized("NFKC", text)


@given(st.lists(st.text("abc", min_size=1, max_size=2), max_size=8), st.text("abc ", max_size=5))
def test_phrases_match_like_a_regular_expression_with_word_bounds(words, phrase):
    text = " ".join(words)
    wanted = phrase.split()
    pattern = r"(?<!\S)" + " ".join(wanted) + r"(?!\S)"
    assert mutes(phrase, text) == bool(wanted and re.search(pattern, text))
