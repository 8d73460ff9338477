"""Texts that were cut before: where each is, and which of them hold a muted keyword.

Two requests rarely differ in most of their texts, so a text is cut once and kept in a row of a
bounded table, with 512 marks: two for each form of a word in it. A keyword can only be in a text
that has all the marks of its words, which array operations tell for thousands of texts at once;
what is left, one text in fifty, is compared word by word. So answers are exact.

A row is found by the post's id, and counts only when it holds the very text that is asked for; of
other posts with the same text, or of ids that share a place, a dictionary of texts knows the row.
Glossary: N texts asked for, K texts kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from home_mixer.query import Ids
from home_mixer.tokenizer import KeywordMatcher, Phrase, TokenizedText, stands_in, tokenize_text

_MARK_BITS: Final = 9  # of a form's hash, for each of its two marks
_MARKS: Final = 1 << _MARK_BITS  # a post of 40 words sets one in seven
_WORD_BITS: Final = 6  # marks are kept in words of 64
_WORDS: Final = _MARKS >> _WORD_BITS
_PLACES_PER_TEXT: Final = 4  # of 2,400 posts two dozen share a place with another one
_PHRASES_REMEMBERED: Final = 4_096
_PHRASES_MAX: Final = 32  # more cost more than one operation on sets for each text
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, random bits
NOT_KNOWN: Final = -1

Objects = NDArray[np.object_]
Rows = NDArray[np.intp]


class CutText(NamedTuple):
    """A text's words, and its marks as the bits of one number."""

    tokens: TokenizedText
    marks: int


def cut_text(text: str) -> CutText:
    """What a row keeps of a text; it takes ten microseconds for a short one."""
    tokens = tokenize_text(text)
    return CutText(tokens, _marks_of(tokens.forms))


class KnownTexts:
    """The last ``texts_max`` texts that were cut; the oldest makes room."""

    def __init__(self, texts_max: int) -> None:
        places = max(texts_max * _PLACES_PER_TEXT - 1, 1).bit_length()
        self._shift = np.uint64(64 - places)
        self._row_at: NDArray[np.int32] = np.zeros(1 << places, np.int32)
        self._row_of: dict[str, int] = {}
        self._texts: Objects = np.empty(texts_max, dtype=object)
        self._tokens: Objects = np.empty(texts_max, dtype=object)
        self._marks = np.zeros((_WORDS, texts_max), np.uint64)
        self._next = 0

    def find(self, ids: Ids, texts: Objects) -> Rows:
        """[N]: the row of each text, NOT_KNOWN for one that is not kept."""
        places = ((ids * _MIX) >> self._shift).view(np.intp)
        rows = self._row_at.take(places).astype(np.intp)
        others = (self._texts.take(rows) != texts).nonzero()[0]
        if len(others):
            row_of = self._row_of
            found = [row_of.get(text, NOT_KNOWN) for text in texts[others].tolist()]
            rows[others] = found
            self._row_at[places[others]] = np.maximum(rows[others], 0)  # compared when found
        return rows

    def remember(self, texts: Iterable[str], cuts: Iterable[CutText]) -> None:
        """Keeps them; one that is kept already, by another request, stays."""
        for text, cut in zip(texts, cuts, strict=True):
            if text not in self._row_of:
                self._keep(text, cut)

    def which(self, rows: Rows, matcher: KeywordMatcher) -> Rows:
        """The places in ``rows`` [N], all known, of texts that hold any of the keywords."""
        if matcher.substrings or len(matcher.phrases) > _PHRASES_MAX:
            return np.array(matcher.which(self._tokens[rows].tolist()), np.intp)
        hits = [self._with_phrase(rows, phrase) for phrase in matcher.phrases]
        return np.concatenate([np.empty(0, np.intp), *hits])

    def _with_phrase(self, rows: Rows, phrase: Phrase) -> Rows:
        (word, mask), *further = _needed(phrase)
        at = _holds(self._marks[word], rows, mask)
        for word, mask in further:
            at = at.take(_holds(self._marks[word], rows.take(at), mask))
        tokens: Sequence[TokenizedText] = self._tokens.take(rows.take(at)).tolist()
        return at[[stands_in(phrase, one) for one in tokens]] if len(at) else at

    def _keep(self, text: str, cut: CutText) -> None:
        row, self._next = self._next, (self._next + 1) % len(self._texts)
        if self._texts[row] is not None:
            del self._row_of[self._texts[row]]
        self._row_of[text] = row
        self._texts[row], self._tokens[row] = text, cut.tokens
        self._marks[:, row] = _words(cut.marks)


def _holds(marks: NDArray[np.uint64], rows: Rows, mask: np.uint64) -> Rows:
    """The places in ``rows`` of those that have all marks of the mask."""
    places: Rows = ((marks.take(rows) & mask) == mask).nonzero()[0]
    return places


def _marks_of(forms: Iterable[str]) -> int:
    marks = 0
    for form in forms:
        bits = hash(form)
        marks |= 1 << (bits & (_MARKS - 1)) | 1 << (bits >> _MARK_BITS & (_MARKS - 1))
    return marks


def _words(marks: int) -> NDArray[np.uint64]:
    return np.frombuffer(marks.to_bytes(_MARKS // 8, "little"), "<u8")


@lru_cache(maxsize=_PHRASES_REMEMBERED)
def _needed(phrase: Phrase) -> tuple[tuple[int, np.uint64], ...]:
    """(word, its bits) of the marks that a text with this phrase has."""
    words = _words(_marks_of(phrase))
    return tuple((int(at), words[at]) for at in np.flatnonzero(words))
