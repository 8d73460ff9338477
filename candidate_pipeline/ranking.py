"""Ordering candidates: descending, NaN last, ties by the larger id, the same on every run."""

import numpy as np

from candidate_pipeline.components import Q, Selector
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable, IndexArray


def rank_descending(keys: AnyArray, ids: AnyArray) -> IndexArray:
    """Row numbers by descending key [n]; NaN last, equal keys by the larger id, then by row."""
    falling = -keys.astype(np.float64, copy=False)  # argsort puts NaN last by itself
    order = np.argsort(falling)
    found = falling.take(order)
    if len(found) and (np.isnan(found[-1]) or (found[1:] == found[:-1]).any()):
        return _ranked_with_ties(falling, ids)
    return order


def _ranked_with_ties(falling: AnyArray, ids: AnyArray) -> IndexArray:
    """The slower sort, needed only where keys are equal or missing.

    ~x sorts integers downwards; -x would overflow at the ends. lexsort is stable.
    """
    missing = np.isnan(falling)
    return np.lexsort((~ids, np.where(missing, 0.0, falling), missing))


class TopKSelector(Selector[Q]):
    """Ranks by one float column; `ids` breaks ties."""

    def __init__(self, key: str, ids: str, size: int | None = None) -> None:
        self.size = size
        self._key = key
        self._ids = ids

    def declared_reads(self) -> frozenset[str]:
        return frozenset({self._key, self._ids})

    def select(self, query: Q, table: CandidateTable) -> AnyArray:
        """Every row, best first."""
        return rank_descending(table[self._key], table[self._ids])
