"""Removes posts whose own, reposted or quoted text holds a keyword that the viewer mutes.

What counts as a match is the tokenizer's (``home_mixer.tokenizer``). Cut texts are kept
(``home_mixer.known_texts``), as the same posts are judged for many viewers; while many texts are
new, a thread cuts them. Deviation: the original looks at the own text alone. A text that could not
be read is judged as muted while ``enable_fail_closed_muted_keywords`` is set: a mute is a promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import UNKNOWN
from home_mixer.known_texts import NOT_KNOWN, CutText, KnownTexts, Objects, Rows, cut_text
from home_mixer.query import Ids, ScoredPostsQuery
from home_mixer.tokenizer import KeywordMatcher

CACHED_TEXTS_MAX = 32_768  # about 50 MB of tokens
MATCHERS_MAX = 1_024  # viewers; a hundred keywords are 50 KB
CUT_INLINE_MAX = 128  # new texts; about a millisecond, which a thread's start may cost as well
_SHOWN = (("reposted_text", "reposted_post_id"), ("quoted_text", "quoted_post_id"))

Mask = NDArray[np.bool_]


class _Asked(NamedTuple):
    """The texts of one table: the row of each, the id of its post, the text."""

    rows: Rows
    ids: Ids
    texts: Objects


class MutedKeywordFilter(Filter[ScoredPostsQuery]):
    reads = frozenset(
        {
            "core_data_found",
            "post_id",
            "quoted_post_id",
            "quoted_text",
            "reposted_post_id",
            "reposted_text",
            "text",
        }
    )
    budget_ms = 300.0
    on_failure = FailurePolicy.FAIL_CLOSED

    def __init__(self, cached_texts_max: int = CACHED_TEXTS_MAX) -> None:
        self._known = KnownTexts(cached_texts_max)

    def enable(self, query: ScoredPostsQuery) -> bool:
        return bool(query.muted_keywords)

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> Mask | Awaitable[Mask]:
        """At once where most texts are known, else when a thread has cut those that are not."""
        asked = _asked(table)
        kept_at = self._known.find(asked.ids, asked.texts)
        is_known = kept_at != NOT_KNOWN
        matcher = _matcher(query.muted_keywords)
        muted = _unreadable(query, table)
        if is_known.all():  # as in most feeds
            muted[asked.rows.take(self._known.which(kept_at, matcher))] = True
            return ~muted
        muted[asked.rows[is_known][self._known.which(kept_at[is_known], matcher)]] = True
        rows, new = asked.rows[~is_known], asked.texts[~is_known].tolist()
        if len(new) > CUT_INLINE_MAX:
            return self._keep_later(muted, rows, new, matcher)
        return self._judged(muted, rows, new, list(map(cut_text, new)), matcher)

    async def _keep_later(
        self, muted: Mask, rows: Rows, new: list[str], matcher: KeywordMatcher
    ) -> Mask:
        cuts = await asyncio.to_thread(lambda: list(map(cut_text, new)))
        return self._judged(muted, rows, new, cuts, matcher)

    def _judged(
        self, muted: Mask, rows: Rows, new: list[str], cuts: list[CutText], matcher: KeywordMatcher
    ) -> Mask:
        """``muted`` holds the verdict on known texts; the new ones' is added."""
        muted[rows[matcher.which([cut.tokens for cut in cuts])]] = True
        self._known.remember(new, cuts)
        return ~muted


@lru_cache(maxsize=MATCHERS_MAX)
def _matcher(keywords: tuple[str, ...]) -> KeywordMatcher:
    """A viewer's, for the next page too."""
    return KeywordMatcher(keywords)


def _unreadable(query: ScoredPostsQuery, table: CandidateTable) -> Mask:
    """[N]: texts that nobody read, where that counts as muted."""
    if not query.params.enable_fail_closed_muted_keywords:
        return np.zeros(len(table), np.bool_)
    unreadable: Mask = table["core_data_found"] == UNKNOWN
    return unreadable


def _asked(table: CandidateTable) -> _Asked:
    """Every own text, and those of other posts that are shown with it."""
    rows, ids, texts = [np.arange(len(table))], [table["post_id"]], [table["text"]]
    for text, post_id in _SHOWN:
        column = table[text]
        here = (column != "").nonzero()[0]
        rows.append(here)
        ids.append(table[post_id].take(here))
        texts.append(column.take(here))
    return _Asked(np.concatenate(rows), np.concatenate(ids), np.concatenate(texts))
