"""Removes posts that the viewer has seen, by the request's ids and its Bloom filters.

A candidate counts as seen when it, the original that it reposts, or the post that it replies to
was seen. A Bloom filter may err towards "seen" at the rate its maker chose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import Filter
from candidate_pipeline.table import CandidateTable
from home_mixer.bloom import hash_ids
from home_mixer.filters.related_ids import RELATED_COLUMNS, related_ids
from home_mixer.id_sets import contains_any
from home_mixer.query import Ids, ScoredPostsQuery, sorted_ids


class PreviouslySeenPostsFilter(Filter[ScoredPostsQuery]):
    reads = frozenset(RELATED_COLUMNS)

    def enable(self, query: ScoredPostsQuery) -> bool:
        return bool(len(query.seen_ids) or query.bloom_filters)

    def keep(self, query: ScoredPostsQuery, table: CandidateTable) -> NDArray[np.bool_]:
        related = related_ids(table)
        seen = contains_any([query.seen_ids], related)
        if query.bloom_filters:
            # Only what is still in question is hashed: hashing is the expensive part.
            open_rows = [column[~seen] for column in related]
            seen[~seen] = contains_any([_in_filters(query, open_rows)], open_rows)
        return ~seen


def _in_filters(query: ScoredPostsQuery, columns: list[NDArray[np.uint64]]) -> Ids:
    """Those of the columns' ids that any of the query's filters may hold."""
    ids = sorted_ids(np.concatenate(columns))
    hashes = hash_ids(ids)
    found = np.zeros(len(ids), np.bool_)
    for bloom in query.bloom_filters:
        found |= bloom.contains(hashes)
    return ids[found]
