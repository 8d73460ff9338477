"""Ordering candidates: descending, NaN last, ties by the larger id, the same on every run."""

import numpy as np

from candidate_pipeline.components import Q, Selector
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable, IndexArray


def rank_descending(keys: AnyArray, ids: AnyArray) -> IndexArray:
    """Row numbers by descending key [n]; NaN last, equal keys by the larger id, then by row."""
    values = keys.astype(np.float64, copy=False)
    missing = np.isnan(values)
    if not missing.any():
        return np.lexsort((_descending(ids), -values))
    return np.lexsort((_descending(ids), np.where(missing, 0.0, -values), missing))


def _descending(ids: AnyArray) -> AnyArray:
    """A key that sorts integer ids downwards; ~x, because -x overflows at the ends."""
    return ~ids


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
