"""in_network: the author is followed by the viewer, or is the viewer. Of a repost: the reposter."""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import Hydrator
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.id_sets import contains
from home_mixer.query import ScoredPostsQuery


class InNetworkHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"author_id"})
    writes = frozenset({"in_network"})

    def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        authors = table["author_id"]
        followed = contains(query.followed_user_ids, authors)
        inside = followed | (authors == np.uint64(query.viewer_id))
        return {"in_network": inside.view(np.int8)}  # true is YES, false is NO
