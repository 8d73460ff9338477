"""author_blocks_viewer: the author, the reposted or the quoted author blocks the viewer.

Fails closed: while the graph does not answer, every author of whom it is not known counts as
blocking, so nothing is shown against a block. Deviation: the original shows it all.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.protocols import SocialGraphStore
from home_mixer.query import ScoredPostsQuery

_AUTHORS = ("author_id", "reposted_user_id", "quoted_author_id")


class BlockedByHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset(_AUTHORS)
    writes = frozenset({"author_blocks_viewer"})

    def __init__(
        self, store: SocialGraphStore, budget_ms: float, on_failure: FailurePolicy
    ) -> None:
        self._store = store
        self.budget_ms = budget_ms
        self.on_failure = on_failure

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        everyone = np.concatenate([table[name] for name in _AUTHORS])
        user_ids, rows = np.unique(everyone, return_inverse=True)
        blocks = await self._store.blocks_viewer(query.viewer_id, user_ids)
        by_author = blocks[rows].reshape(len(_AUTHORS), len(table))
        return {"author_blocks_viewer": np.logical_or.reduce(by_author, axis=0)}

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """Everybody may be blocking."""
        return {"author_blocks_viewer": np.ones(len(table), np.bool_)}
