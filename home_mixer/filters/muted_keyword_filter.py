"""Removes posts whose own, reposted or quoted text holds a keyword that the viewer mutes.

What counts as a match is the tokenizer's (``home_mixer.tokenizer``). Tokens of a text are kept in
a bounded cache, as the same posts are judged for many viewers; while many texts are new, a thread
cuts them. Deviation: the original looks at the own text alone. A text that could not be read is
judged as muted while ``enable_fail_closed_muted_keywords`` is set: a mute is a promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import UNKNOWN
from home_mixer.query import ScoredPostsQuery
from home_mixer.tokenizer import KeywordMatcher, TokenizedText, tokenize_text

CACHED_TEXTS_MAX = 32_768  # about 50 MB of tokens
CUT_INLINE_MAX = 128  # new texts; about a millisecond, which a thread's start may cost as well
_TEXTS = ("text", "reposted_text", "quoted_text")

Mask = NDArray[np.bool_]
_Tokens = TokenizedText | None


class _Asked(NamedTuple):
    """The texts of one table: in which row each stands, and the rows that are judged already."""

    rows: NDArray[np.intp]
    texts: list[str]
    muted: Mask


class MutedKeywordFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({*_TEXTS, "core_data_found"})
    budget_ms = 300.0
    on_failure = FailurePolicy.FAIL_CLOSED

    def __init__(self, cached_texts_max: int = CACHED_TEXTS_MAX) -> None:
        self._cached_texts_max = cached_texts_max
        self._tokenized: dict[str, TokenizedText] = {}

    def enable(self, query: ScoredPostsQuery) -> bool:
        return bool(query.muted_keywords)

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> Mask | Awaitable[Mask]:
        """At once where most texts are known, else when a thread has cut those that are not."""
        asked = _asked(query, table)
        known = list(map(self._tokenized.get, asked.texts))
        new = [text for text, tokens in zip(asked.texts, known, strict=True) if tokens is None]
        if len(new) > CUT_INLINE_MAX:
            return self._keep_later(query, asked, known, new)
        return self._judged(
            query, asked, known, dict(zip(new, map(tokenize_text, new), strict=True))
        )

    async def _keep_later(
        self, query: ScoredPostsQuery, asked: _Asked, known: Sequence[_Tokens], new: Sequence[str]
    ) -> Mask:
        cut = await asyncio.to_thread(lambda: {text: tokenize_text(text) for text in new})
        return self._judged(query, asked, known, cut)

    def _judged(
        self,
        query: ScoredPostsQuery,
        asked: _Asked,
        known: Sequence[_Tokens],
        cut: Mapping[str, TokenizedText],
    ) -> Mask:
        """``cut``: of the texts that are not known."""
        tokens = [
            cut[text] if one is None else one for text, one in zip(asked.texts, known, strict=True)
        ]
        self._remember(cut)
        matches = KeywordMatcher(query.muted_keywords).which(tokens)
        muted = asked.muted
        muted[asked.rows[matches]] = True
        return ~muted

    def _remember(self, cut: Mapping[str, TokenizedText]) -> None:
        self._tokenized.update(cut)
        while len(self._tokenized) > self._cached_texts_max:
            del self._tokenized[next(iter(self._tokenized))]  # the oldest


def _asked(query: ScoredPostsQuery, table: CandidateTable) -> _Asked:
    muted = np.zeros(len(table), np.bool_)
    if query.params.enable_fail_closed_muted_keywords:
        muted |= table["core_data_found"] == UNKNOWN
    rows: list[NDArray[np.intp]] = []
    texts: list[str] = []
    for name in _TEXTS:
        column = table[name]
        here = np.flatnonzero(column.astype(np.bool_) & ~muted)
        rows.append(here)
        texts += column[here].tolist()
    return _Asked(np.concatenate(rows), texts, muted)
