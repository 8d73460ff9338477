"""Each post once, knowing all that its sources knew.

Of several rows with one post id the first in source order stays, and what it does not know is
taken from the others, column by column, first one that knows; ``sources`` is the union. Deviation:
in the original the first row wins whole, so that a post found by both sources could lose its
ancestors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import MergingFilter
from candidate_pipeline.table import CandidateTable
from home_mixer.columns import IDENTITY_COLUMNS
from home_mixer.id_sets import first_rows
from home_mixer.query import ScoredPostsQuery

_MERGED: Final = tuple(column.name for column in IDENTITY_COLUMNS)
_Rows = NDArray[np.intp]
_Columns = dict[str, NDArray[Any]]


class DropDuplicatesFilter(MergingFilter[ScoredPostsQuery]):
    reads = frozenset({"post_id", "sources", *_MERGED})
    optional_writes = frozenset({"sources", *_MERGED})

    def merge(
        self, query: ScoredPostsQuery, table: CandidateTable
    ) -> tuple[NDArray[np.bool_], _Columns]:
        keep = np.ones(len(table), np.bool_)
        columns: _Columns = {}
        for winners, losers in _pairs(table["post_id"]):
            keep[losers] = False
            _merge_sources(table, columns, winners, losers)
            for alike in _ALIKE:
                _merge_columns(table, columns, alike, winners, losers)
        return keep, columns


class _Alike(NamedTuple):
    """Columns of one type, which are compared at once: G names, their defaults [G, 1]."""

    names: tuple[str, ...]
    defaults: NDArray[Any]


def _alike() -> tuple[_Alike, ...]:
    by_type: defaultdict[np.dtype[Any], dict[str, object]] = defaultdict(dict)
    for column in IDENTITY_COLUMNS:
        by_type[column.np_dtype][column.name] = column.default
    groups = []
    for dtype, defaults in by_type.items():
        shown = np.empty((len(defaults), 1), dtype)
        shown[:, 0] = False if dtype.kind == "O" else list(defaults.values())
        groups.append(_Alike(tuple(defaults), shown))
    return tuple(groups)


_ALIKE: Final = _alike()


def _pairs(post_ids: NDArray[np.uint64]) -> Iterator[tuple[_Rows, _Rows]]:
    """(first rows, their second rows), then (first rows, their third rows), and so on."""
    winners = first_rows(post_ids)
    losers = np.flatnonzero(winners != np.arange(len(post_ids)))
    winners = winners[losers]
    while len(losers):
        is_next = first_rows(winners.astype(np.uint64)) == np.arange(len(winners))
        yield winners[is_next], losers[is_next]
        winners, losers = winners[~is_next], losers[~is_next]


def _merge_sources(table: CandidateTable, columns: _Columns, winners: _Rows, losers: _Rows) -> None:
    merged = columns.setdefault("sources", table["sources"].copy())
    merged[winners] |= table["sources"][losers]


def _merge_columns(
    table: CandidateTable, columns: _Columns, alike: _Alike, winners: _Rows, losers: _Rows
) -> None:
    """What the losers know and the winners do not. L = len(losers)."""
    both, count = np.concatenate([losers, winners]), len(losers)
    now = [columns[name] if name in columns else table[name] for name in alike.names]
    values = np.concatenate([column.take(both) for column in now]).reshape(len(now), -1)
    known = _known(values, alike.defaults)  # [G, 2 L]
    learned = known[:, :count] & ~known[:, count:]
    for at in np.flatnonzero(learned.any(axis=1)).tolist():
        name, new = alike.names[at], learned[at]
        if name not in columns:
            columns[name] = now[at].copy()
        columns[name][winners[new]] = values[at, :count][new]


def _known(values: NDArray[Any], defaults: NDArray[Any]) -> NDArray[np.bool_]:
    """[G, 2 L]: is it more than its column's default? Objects have empty defaults: "" and ()."""
    if values.dtype == object:
        return values.astype(np.bool_)
    known: NDArray[np.bool_] = values != defaults
    return known
