"""Text and author of the post that a candidate quotes; text and paywall of the one it reposts.

Filters need them: a mute or a paywall must also hold where somebody else shows the post. The quoted
author is the quoted post's own, or what the quoting post says where the store does not know that
post. Of deleted posts no text is taken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Hydrator
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.columns import empty_texts
from home_mixer.clients.protocols import PostBatch, PostStore
from home_mixer.query import ScoredPostsQuery


class QuotedPostHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"post_id", "quoted_post_id", "reposted_post_id"})
    writes = frozenset(
        {"quoted_author_id", "quoted_text", "reposted_text", "reposted_subscription_author_id"}
    )

    def __init__(self, store: PostStore, budget_ms: float) -> None:
        self._store = store
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        quoting = np.flatnonzero(table["quoted_post_id"])
        reposting = np.flatnonzero(table["reposted_post_id"])
        authors, paywalls = np.zeros(len(table), np.uint64), np.zeros(len(table), np.uint64)
        quoted_texts, reposted_texts = empty_texts(len(table)), empty_texts(len(table))
        if len(quoting) + len(reposting):
            quoted = table["quoted_post_id"][quoting]
            reposted = table["reposted_post_id"][reposting]
            asked = np.concatenate([quoted, table["post_id"][quoting], reposted])
            batch = await self._store.get_posts(asked)  # one round trip for the three
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
