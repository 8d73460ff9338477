"""author_blocks_viewer: the author, the reposted or the quoted author blocks the viewer.

Fails closed: while the graph does not answer, what it said of a viewer and an author in the last
``stale_ms`` holds, and every other author counts as blocking, so nothing is shown against a block.
Deviation: the original shows it all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.protocols import Ids, Mask, SocialGraphStore
from home_mixer.id_sets import Rows, distinct
from home_mixer.last_known import BLOCKS_MAX, REASON_STALE, LastKnown, is_fresh
from home_mixer.query import ScoredPostsQuery

_AUTHORS = ("author_id", "reposted_user_id", "quoted_author_id")


class BlockedByHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset(_AUTHORS)
    writes = frozenset({"author_blocks_viewer"})

    def __init__(
        self,
        store: SocialGraphStore,
        budget_ms: float,
        on_failure: FailurePolicy,
        *,
        stale_ms: int = 0,
        blocks_max: int = BLOCKS_MAX,
    ) -> None:
        self._store = store
        self._stale_ms = stale_ms
        self._last_known = LastKnown(blocks_max, {"blocks": np.bool_}) if stale_ms else None
        self.budget_ms = budget_ms
        self.on_failure = on_failure

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        user_ids, mentions = _everyone(table)
        blocks = await self._store.blocks_viewer(query.viewer_id, user_ids)
        if self._last_known is not None:
            viewer = np.full(len(user_ids), query.viewer_id, np.uint64)
            self._last_known.remember(viewer, user_ids, {"blocks": blocks}, query.now_ms)
        return _by_post(table, blocks, mentions)

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """Everybody may be blocking, but those of whom the opposite was known a moment ago."""
        if self._last_known is None:
            return {"author_blocks_viewer": np.ones(len(table), np.bool_)}
        user_ids, mentions = _everyone(table)
        viewer = np.full(len(user_ids), query.viewer_id, np.uint64)
        read_at_ms, known = self._last_known.recall(viewer, user_ids)
        fresh = is_fresh(read_at_ms, query.now_ms, self._stale_ms)
        columns = _by_post(table, ~fresh | known["blocks"], mentions)
        if not fresh.any():
            return columns
        raise Degraded(REASON_STALE, columns)


class _Mentions(NamedTuple):
    """Every author of every post, M in all: the post's row, and which of the distinct authors."""

    rows: Rows
    authors: Rows


def _everyone(table: CandidateTable) -> tuple[Ids, _Mentions]:
    """(distinct author ids, who is an author of which post). 0 is nobody: most posts have one."""
    columns = [table[name] for name in _AUTHORS]
    rows = [column.nonzero()[0] for column in columns]
    mentioned = [column.take(here) for column, here in zip(columns, rows, strict=True)]
    user_ids, authors = distinct(np.concatenate(mentioned))
    return user_ids, _Mentions(np.concatenate(rows), authors)


def _by_post(table: CandidateTable, blocks: Mask, mentions: _Mentions) -> dict[str, AnyArray]:
    blocked = np.zeros(len(table), np.bool_)
    blocked[mentions.rows[blocks.take(mentions.authors)]] = True
    return {"author_blocks_viewer": blocked}
