"""Late: of one conversation only the best scored post stays.

Conversation = the smallest ancestor id (the root, as ids grow with time), else the original of a
repost, else the post itself; so a repost of the root meets the root's replies (the original's rule
since August). Equal scores: the first in the list stays. NaN loses against everything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.filters.related_ids import original_ids
from home_mixer.id_sets import first_rows
from home_mixer.query import ScoredPostsQuery


class DedupConversationFilter(Filter[ScoredPostsQuery]):
    reads = frozenset(
        {"post_id", "reposted_post_id", "in_reply_to_post_id", "conversation_id", "score"}
    )

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        best_first = np.argsort(-table["score"], kind="stable")  # NaN last
        first = first_rows(_conversations(table).take(best_first))
        mask = np.zeros(len(table), np.bool_)
        mask[best_first.take(first)] = True
        return mask


def _conversations(table: CandidateTable) -> NDArray[np.uint64]:
    parents, roots = table["in_reply_to_post_id"], table["conversation_id"]
    first = np.where(roots != 0, np.minimum(parents, roots), parents)
    return np.where(parents != 0, first, original_ids(table))
