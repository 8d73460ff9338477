"""Muted keywords against texts: what a word is, and when a keyword is in a text.

Both sides are folded (Unicode NFKC, case, typographic apostrophes, invisible characters), then cut
into tokens: words (letters, digits, marks and _, inner apostrophes), the same with a leading #, @
or $ (tag, mention, ticker), and symbols such as emoji, one by one, where a joined emoji or a flag
is one token and its skin tone is dropped. Punctuation and space separate.

A keyword matches when its tokens stand in the text one after the other. A plain word also matches
its tag and its ticker (muting "cats" mutes "#cats"), a tag only the tag, a mention only the
mention. A keyword in a script without spaces (Chinese, Japanese, Thai, …) matches as a substring
of the folded text. A keyword without any token (punctuation alone) matches nothing.
The original's tokenizer is closed; these rules are ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, count
from operator import attrgetter, not_
from typing import Final

_ZERO_WIDTH_JOINER: Final = "\u200d"
_PREFIXES: Final = "#@$"

# Scripts that are written without spaces: tokens would be whole sentences.
_UNSPACED_RANGES: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)

# Format characters and variation selectors, which a reader does not see; not the emoji joiner.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_WORD, _MARK, _SYMBOL, _JOINER, _TONE, _FLAG, _GAP = range(7)
_IN_WORDS: Final = (_WORD, _MARK)
_TOKEN: Final = re.compile(r"[#@$]?\w+(?:'\w+)*|[$+<=>^`|~]|[^\w\s\x00-\x7f]+")
_FORMS: Final = attrgetter("forms")
_UNSPACED: Final = re.compile(f"[{''.join(f'{chr(a)}-{chr(b)}' for a, b in _UNSPACED_RANGES)}]")
_NOT_WORD: Final = re.compile(r"[^\w\s\x00-\x7f]")

Phrase = tuple[str, ...]
"""A keyword's tokens, at least one."""


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A folded text, its tokens in order, and every form of them that a keyword may start with."""

    folded: str
    tokens: tuple[str, ...]
    forms: frozenset[str]


def tokenize_text(text: str) -> TokenizedText:
    """Folds and cuts a post's text."""
    folded = fold(text)
    tokens = tuple(_tokens(folded))
    if "#" not in folded and "$" not in folded:
        return TokenizedText(folded, tokens, frozenset(tokens))
    plain = [token[1:] for token in tokens if len(token) > 1 and token[0] in "#$"]
    return TokenizedText(folded, tokens, frozenset((*tokens, *plain)))


def tokenize_keyword(keyword: str) -> tuple[str, ...]:
    """The tokens that must stand one after the other."""
    return tuple(_tokens(fold(keyword)))


class KeywordMatcher:
    """A viewer's muted keywords, prepared once for all texts of a request."""

    def __init__(self, keywords: Iterable[str]) -> None:
        folded = [fold(keyword).strip() for keyword in keywords]
        self.substrings = tuple(word for word in folded if _UNSPACED.search(word))
        cut = (tuple(_tokens(word)) for word in folded if not _UNSPACED.search(word))
        self.phrases: tuple[Phrase, ...] = tuple(tokens for tokens in cut if tokens)
        self._firsts = frozenset(tokens[0] for tokens in self.phrases)

    def matches(self, text: TokenizedText) -> bool:
        """Is any of the keywords in the text?"""
        if not self._firsts.isdisjoint(text.forms) and self._phrase_in(text):
            return True
        return bool(self.substrings) and any(part in text.folded for part in self.substrings)

    def which(self, texts: Sequence[TokenizedText]) -> list[int]:
        """Places of the texts that match. Most hold no keyword's first word: one operation on sets
        tells, and no step of Python is taken for such a text."""
        if self.substrings:
            return [at for at, text in enumerate(texts) if self.matches(text)]
        lacks = map(self._firsts.isdisjoint, map(_FORMS, texts))
        may_match = compress(count(), map(not_, lacks))
        return [at for at in may_match if self._phrase_in(texts[at])]

    def _phrase_in(self, text: TokenizedText) -> bool:
        return any(stands_in(phrase, text) for phrase in self.phrases)


def stands_in(phrase: Phrase, text: TokenizedText) -> bool:
    """Do the phrase's tokens stand in the text, one after the other?"""
    if phrase[0] not in text.forms:
        return False
    return len(phrase) == 1 or _stands_in(phrase, text.tokens)


def fold(text: str) -> str:
    """NFKC, case folded, one kind of apostrophe, no invisible characters but the emoji joiner."""
    if text.isascii():
        return text.lower()
    composed = unicodedata.normalize("NFKC", text).casefold()
    composed = unicodedata.normalize("NFKC", composed).replace("’", "'").replace("ʼ", "'")
    return _INVISIBLE.sub("", composed)


def _stands_in(phrase: Phrase, tokens: tuple[str, ...]) -> bool:
    size = len(phrase)
    return any(
        all(map(_token_matches, phrase, tokens[start : start + size]))
        for start in range(len(tokens) - size + 1)
    )


def _token_matches(wanted: str, token: str) -> bool:
    return wanted == token or (token[0] in "#$" and wanted == token[1:])


def _tokens(folded: str) -> Iterable[str]:
    runs: list[str] = _TOKEN.findall(folded)
    others = () if folded.isascii() else _NOT_WORD.findall(folded)
    if not others:
        return runs
    # Python's \w has no marks, of which some scripts' words are full; those take the slow way.
    if any(_kind(char) == _MARK for char in others):
        return _unicode_tokens(folded)
    return (token for run in runs for token in _of_run(run))


def _of_run(run: str) -> Iterable[str]:
    """A word or an ASCII symbol is a token; a run of other characters may hold several or none."""
    if run[0] < "\x80" or _kind(run[0]) == _WORD:
        return (run,)
    return _unicode_tokens(run)


def _unicode_tokens(folded: str) -> Iterator[str]:
    at, end = 0, len(folded)
    while at < end:
        kind = _kind(folded[at])
        if kind in _IN_WORDS or _opens_word(folded, at):
            stop = _word_end(folded, at + 1)
        elif kind in (_SYMBOL, _FLAG):
            stop = _symbol_end(folded, at)
        else:
            at += 1
            continue
        yield "".join(char for char in folded[at:stop] if _kind(char) != _TONE)
        at = stop


def _opens_word(folded: str, at: int) -> bool:
    followed = at + 1 < len(folded) and _kind(folded[at + 1]) in _IN_WORDS
    return folded[at] in _PREFIXES and followed


def _word_end(folded: str, at: int) -> int:
    """Where the word that goes on at ``at`` ends."""
    while at < len(folded):
        inner = folded[at] == "'" and _kind(folded[at - 1]) in _IN_WORDS
        if _kind(folded[at]) not in _IN_WORDS and not (
            inner and at + 1 < len(folded) and _kind(folded[at + 1]) in _IN_WORDS
        ):
            break
        at += 1
    return at


def _symbol_end(folded: str, at: int) -> int:
    """Where the symbol at ``at`` ends: with its tone, what is joined to it, its flag's twin."""
    first = _kind(folded[at])
    at += 1
    while at < len(folded):
        kind = _kind(folded[at])
        if kind == _JOINER and at + 1 < len(folded):
            at += 2
        elif kind == _TONE:
            at += 1
        elif kind == _FLAG and first == _FLAG:
            return at + 1
        else:
            break
    return at


@lru_cache(maxsize=8_192)
def _kind(char: str) -> int:
    if char == _ZERO_WIDTH_JOINER:
        return _JOINER
    if "\U0001f3fb" <= char <= "\U0001f3ff":
        return _TONE
    if "\U0001f1e6" <= char <= "\U0001f1ff":
        return _FLAG
    category = unicodedata.category(char)
    if char == "_" or category[0] in "LN":
        return _WORD
    if category[0] == "M":
        return _MARK
    return _SYMBOL if category[0] == "S" else _GAP
