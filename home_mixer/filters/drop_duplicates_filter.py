"""Each post once, knowing all that its sources knew.

Of several rows with one post id the first in source order stays, and what it does not know is
taken from the others, column by column, first one that knows; ``sources`` is the union. Deviation:
in the original the first row wins whole, so that a post found by both sources could lose its
ancestors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import MergingFilter
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import IDENTITY_COLUMNS
from home_mixer.id_sets import first_rows
from home_mixer.query import ScoredPostsQuery

_MERGED = tuple(column.name for column in IDENTITY_COLUMNS)
_Rows = NDArray[np.intp]


class DropDuplicatesFilter(MergingFilter[ScoredPostsQuery]):
    reads = frozenset({"post_id", "sources", *_MERGED})
    optional_writes = frozenset({"sources", *_MERGED})

    def merge(
        self, query: ScoredPostsQuery, table: CandidateTable
    ) -> tuple[NDArray[np.bool_], dict[str, NDArray[Any]]]:
        keep = np.ones(len(table), np.bool_)
        columns: dict[str, NDArray[Any]] = {}
        for winners, losers in _pairs(table["post_id"]):
            keep[losers] = False
            _merge_sources(table, columns, winners, losers)
            for name in _MERGED:
                _merge_column(table, columns, name, winners, losers)
        return keep, columns


def _pairs(post_ids: NDArray[np.uint64]) -> Iterator[tuple[_Rows, _Rows]]:
    """(first rows, their second rows), then (first rows, their third rows), and so on."""
    winners = first_rows(post_ids)
    losers = np.flatnonzero(winners != np.arange(len(post_ids)))
    winners = winners[losers]
    while len(losers):
        is_next = first_rows(winners.astype(np.uint64)) == np.arange(len(winners))
        yield winners[is_next], losers[is_next]
        winners, losers = winners[~is_next], losers[~is_next]


def _merge_sources(
    table: CandidateTable, columns: dict[str, NDArray[Any]], winners: _Rows, losers: _Rows
) -> None:
    merged = columns.setdefault("sources", table["sources"].copy())
    merged[winners] |= table["sources"][losers]


def _merge_column(
    table: CandidateTable,
    columns: dict[str, NDArray[Any]],
    name: str,
    winners: _Rows,
    losers: _Rows,
) -> None:
    values = columns.get(name, table[name])
    default = table.schema[name].default
    theirs = values[losers]
    learned = _known(theirs, default)
    if not learned.any():
        return
    learned &= ~_known(values[winners], default)
    if learned.any():
        if name not in columns:
            columns[name] = values.copy()
        columns[name][winners[learned]] = theirs[learned]


def _known(values: NDArray[Any], default: object) -> NDArray[np.bool_]:
    """[N]: is it more than the column's default? Objects have empty defaults: "" and ()."""
    if values.dtype == object:
        return values.astype(np.bool_)
    known: NDArray[np.bool_] = values != default
    return known
