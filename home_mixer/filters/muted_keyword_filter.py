"""Removes posts whose own, reposted or quoted text holds a keyword that the viewer mutes.

What counts as a match is the tokenizer's (``home_mixer.tokenizer``). Tokens of a text are kept in
a bounded cache, as the same posts are judged for many viewers. Deviation: the original looks at
the own text alone. A text that could not be read is judged as muted while
``enable_fail_closed_muted_keywords`` is set: a mute is a promise.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import UNKNOWN
from home_mixer.query import ScoredPostsQuery
from home_mixer.tokenizer import KeywordMatcher, tokenize_text

CACHED_TEXTS_MAX = 32_768  # about 50 MB of tokens
_TEXTS = ("text", "reposted_text", "quoted_text")


class MutedKeywordFilter(Filter[ScoredPostsQuery]):
    reads = frozenset({*_TEXTS, "core_data_found"})
    blocking = True  # thousands of fresh texts take tens of milliseconds to cut
    budget_ms = 300.0
    on_failure = FailurePolicy.FAIL_CLOSED

    def __init__(self, cached_texts_max: int = CACHED_TEXTS_MAX) -> None:
        self._tokenized = lru_cache(maxsize=cached_texts_max)(tokenize_text)

    def enable(self, query: ScoredPostsQuery) -> bool:
        return bool(query.muted_keywords)

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        matcher = KeywordMatcher(query.muted_keywords)
        muted = np.zeros(len(table), np.bool_)
        if query.params.enable_fail_closed_muted_keywords:
            muted |= table["core_data_found"] == UNKNOWN
        tokenized = self._tokenized
        for name in _TEXTS:
            texts = table[name]
            rows = np.flatnonzero(texts.astype(np.bool_) & ~muted)
            muted[rows] = matcher.which(map(tokenized, texts[rows].tolist()))
        return ~muted
