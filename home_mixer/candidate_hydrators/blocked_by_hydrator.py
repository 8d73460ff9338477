"""author_blocks_viewer: the author, the reposted or the quoted author blocks the viewer.

Fails closed: while the graph does not answer, what it said of a viewer and an author in the last
``stale_ms`` holds, and every other author counts as blocking, so nothing is shown against a block.
Deviation: the original shows it all.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.protocols import Ids, Mask, SocialGraphStore
from home_mixer.id_sets import distinct
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
        user_ids, rows = _everyone(table)
        blocks = await self._store.blocks_viewer(query.viewer_id, user_ids)
        if self._last_known is not None:
            viewer = np.full(len(user_ids), query.viewer_id, np.uint64)
            self._last_known.remember(viewer, user_ids, {"blocks": blocks}, query.now_ms)
        return _by_post(blocks, rows)

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """Everybody may be blocking, but those of whom the opposite was known a moment ago."""
        if self._last_known is None:
            return {"author_blocks_viewer": np.ones(len(table), np.bool_)}
        user_ids, rows = _everyone(table)
        viewer = np.full(len(user_ids), query.viewer_id, np.uint64)
        read_at_ms, known = self._last_known.recall(viewer, user_ids)
        fresh = is_fresh(read_at_ms, query.now_ms, self._stale_ms)
        may_block = (~fresh | known["blocks"]) & (user_ids != 0)  # 0: nobody reposted or quoted
        columns = _by_post(may_block, rows)
        if not fresh.any():
            return columns
        raise Degraded(REASON_STALE, columns)


def _everyone(table: CandidateTable) -> tuple[Ids, AnyArray]:
    """(distinct author ids, where each of the authors of each post is among them)."""
    everyone = np.concatenate([table[name] for name in _AUTHORS])
    user_ids, rows = distinct(everyone)
    return user_ids, rows


def _by_post(blocks: Mask, rows: AnyArray) -> dict[str, AnyArray]:
    by_author = blocks[rows].reshape(len(_AUTHORS), -1)
    return {"author_blocks_viewer": np.logical_or.reduce(by_author, axis=0)}
