"""Keeps count of every candidate, and on request remembers where each one ended.

Counting is always on and is asserted: what the sources brought must equal the sum of the fates.
Remembering (`explain`) gives each fetched candidate a hidden row number that travels with it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.errors import ConservationError
from candidate_pipeline.result import Fate, Ledger, Stage
from candidate_pipeline.table import CandidateTable, IndexArray

ROW = "#row"  # no identifier, so that no schema can have a column of this name


_NO_FATES = dict.fromkeys(Fate, 0)


@dataclass(frozen=True, slots=True)
class _Entry:
    table: CandidateTable
    fate: Fate
    stage: Stage
    removed_by: str


class Bookkeeper:
    """One request's fates."""

    def __init__(self, *, explain: bool) -> None:
        self._explain = explain
        self._entries: list[_Entry] = []
        self._ranked: CandidateTable | None = None
        self._fetched_count = 0
        self.counts = _NO_FATES.copy()
        self.removed_by: dict[str, int] = {}

    def fetched(self, table: CandidateTable) -> CandidateTable:
        """Call once, with all candidates; go on with the table that it returns."""
        self._fetched_count = len(table)
        return table._with_own({ROW: np.arange(len(table))}) if self._explain else table

    def removed(
        self, table: CandidateTable, kept: IndexArray, fate: Fate, stage: Stage, name: str
    ) -> None:
        """A filter kept these rows of the table and no others."""
        count = len(table) - len(kept)
        self.removed_by[name] = self.removed_by.get(name, 0) + count
        self.counts[fate] += count
        if self._explain and count:
            is_removed: NDArray[np.bool_] = np.ones(len(table), dtype=np.bool_)
            is_removed[kept] = False
            removed = table._taken(np.flatnonzero(is_removed))
            self._entries.append(_Entry(removed, fate, stage, name))

    def ranked(self, table: CandidateTable) -> None:
        """The whole ranking, best first."""
        self._ranked = table

    def ended(self, table: CandidateTable, fate: Fate, stage: Stage) -> None:
        """These rows ended here without a filter's doing. The served ones come in feed order."""
        self.counts[fate] += len(table)
        if self._explain and len(table):
            self._entries.append(_Entry(table, fate, stage, ""))

    def check(self) -> None:
        """Raises ConservationError unless the fates add up to what was fetched."""
        total = sum(self.counts.values())
        if total != self._fetched_count:
            counts = ", ".join(f"{fate}={count}" for fate, count in self.counts.items())
            raise ConservationError(
                f"fetched {self._fetched_count} candidates, but {total} have a fate: {counts}"
            )

    def ledger(self, empty: CandidateTable) -> Ledger | None:
        """The ledger, when it was asked for."""
        if not self._explain:
            return None
        n = self._fetched_count
        everything = CandidateTable.concat([empty, *(entry.table for entry in self._entries)])
        rows = np.asarray(everything[ROW] if n else (), dtype=np.intp)
        if not np.array_equal(np.sort(rows), np.arange(n)):
            raise ConservationError(f"the ledger's rows are not each of 0..{n - 1} once")
        ledger = Ledger(
            table=everything.take(np.argsort(rows)),
            fate=np.empty(n, dtype=object),
            removed_by=np.empty(n, dtype=object),
            stage=np.empty(n, dtype=object),
            position=np.full(n, -1, dtype=np.int64),
            rank=np.full(n, -1, dtype=np.int64),
        )
        for entry in self._entries:
            self._enter(ledger, entry)
        if self._ranked is not None and len(self._ranked):
            ledger.rank[self._ranked[ROW]] = np.arange(len(self._ranked))
        return ledger

    @staticmethod
    def _enter(ledger: Ledger, entry: _Entry) -> None:
        rows = entry.table[ROW]
        ledger.fate[rows] = entry.fate
        ledger.removed_by[rows] = entry.removed_by
        ledger.stage[rows] = entry.stage
        if entry.fate is Fate.SERVED:
            ledger.position[rows] = np.arange(len(rows))
