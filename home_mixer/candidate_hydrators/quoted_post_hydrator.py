"""Text and author of the post that a candidate quotes; text and paywall of the one it reposts.

Filters need them: a mute or a paywall must also hold where somebody else shows the post. The quoted
author is the quoted post's own, or what the quoting post says where the store does not know that
post. Of deleted posts no text is taken.

Fails closed: while the store does not answer, a post that shows, or may show, another one of which
nothing is known counts as behind a paywall that nobody has paid. What is known of posts that were
read before does not change, and holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.columns import empty_texts
from home_mixer.clients.protocols import Ids, PostBatch, PostStore
from home_mixer.columns import UNKNOWN
from home_mixer.last_known import REASON_STALE, LastKnownPosts
from home_mixer.query import ScoredPostsQuery

NOBODY = np.uint64(2**64 - 1)  # no user's id, so nobody subscribes to it


class QuotedPostHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"post_id", "quoted_post_id", "reposted_post_id", "core_data_found"})
    writes = frozenset(
        {"quoted_author_id", "quoted_text", "reposted_text", "reposted_subscription_author_id"}
    )

    def __init__(
        self,
        store: PostStore,
        budget_ms: float,
        on_failure: FailurePolicy = FailurePolicy.FAIL_CLOSED,
    ) -> None:
        self._store = LastKnownPosts(store)
        self.budget_ms = budget_ms
        self.on_failure = on_failure

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        asked = _asked(table)
        if not len(asked):
            return _columns(table, None)
        return _columns(table, await self._store.get_posts(asked))  # one round trip for the three

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """Last known posts; nobody may see what shows a post of which nothing is known."""
        asked = _asked(table)
        batch = self._store.last_known(asked)
        columns = _columns(table, batch if len(asked) else None)
        quoting, reposting = table["quoted_post_id"] != 0, table["reposted_post_id"] != 0
        closed = table["core_data_found"] == UNKNOWN  # whatever it shows
        closed |= quoting & (columns["quoted_author_id"] == 0)
        closed[reposting] |= ~batch.found[2 * np.count_nonzero(quoting) :]
        columns["reposted_subscription_author_id"][closed] = NOBODY
        if not batch.found.any():
            return columns
        raise Degraded(REASON_STALE, columns)


def _asked(table: CandidateTable) -> Ids:
    """[2Q + R]: the quoted posts, those that quote them, the reposted ones."""
    quoting = np.flatnonzero(table["quoted_post_id"])
    quoted = table["quoted_post_id"][quoting]
    reposted = table["reposted_post_id"]
    return np.concatenate([quoted, table["post_id"][quoting], reposted[reposted != 0]])


def _columns(table: CandidateTable, batch: PostBatch | None) -> dict[str, AnyArray]:
    """From rows of what `_asked` names; None: it names nothing."""
    authors, paywalls = np.zeros(len(table), np.uint64), np.zeros(len(table), np.uint64)
    quoted_texts, reposted_texts = empty_texts(len(table)), empty_texts(len(table))
    if batch is not None:
        quoting = np.flatnonzero(table["quoted_post_id"])
        reposting = np.flatnonzero(table["reposted_post_id"])
        of_quoted, of_quoting = slice(0, len(quoting)), slice(len(quoting), 2 * len(quoting))
        of_reposted = slice(2 * len(quoting), None)
        stated = batch.quoted_user_id[of_quoting]
        found = batch.found[of_quoted]
        authors[quoting] = np.where(found, batch.author_id[of_quoted], stated)
        quoted_texts[quoting] = _shown_texts(batch, of_quoted)
        reposted_texts[reposting] = _shown_texts(batch, of_reposted)
        paywalls[reposting] = batch.subscription_author_id[of_reposted]
    return {
        "quoted_author_id": authors,
        "quoted_text": quoted_texts,
        "reposted_text": reposted_texts,
        "reposted_subscription_author_id": paywalls,
    }


def _shown_texts(batch: PostBatch, rows: slice) -> NDArray[np.object_]:
    return np.where(batch.deleted[rows], "", batch.text[rows])
