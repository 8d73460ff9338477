"""Membership and equality of 64-bit ids by the thousand, by compiled tables of places.

The tables (``home_mixer.id_kernels``) are exact: an id's place says where to look, and the id
itself is compared. Ids of one place, which only somebody who chose them so sends by the hundred, do
not fit a table and are sorted and searched for, so that the time is bounded whatever comes.
Glossary: K ids known, N values asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from home_mixer.id_kernels import (
    find_rows,
    mark_ids,
    number_leaders,
    put_first_rows,
    put_ids,
)
from home_mixer.query import Ids, no_ids

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

_PLACES_PER_ID: Final = 4  # a quarter full: an id that is not there takes 1.1 looks
_PLACES_MIN: Final = 64


class IdRows:
    """Where each of K distinct ids stands. Build it once, ask for many."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._table = np.empty(_places(len(ids)), np.int32)
        fits = put_first_rows(self._table, ids, np.empty(len(ids), np.intp))
        self._order = None if fits else np.argsort(ids)

    def find(self, values: Ids) -> tuple[Mask, Rows]:
        """([N] is it known, [N] its row; of an unknown one any row). K may be 0."""
        if self._order is not None:
            return self._search(values, self._order)
        found, rows = np.empty(len(values), np.bool_), np.empty(len(values), np.intp)
        find_rows(self._table, self._ids, values, found, rows)
        return found, rows

    def _search(self, values: Ids, order: Rows) -> tuple[Mask, Rows]:
        at = np.searchsorted(self._ids, values, sorter=order)
        at[at == len(order)] = 0
        rows = order[at]
        return self._ids[rows] == values, rows


def contains(ids: Ids, values: NDArray[np.uint64]) -> Mask:
    """[N]: is the value [N] among ``ids`` (sorted, distinct)? 0 means "none" and never is."""
    return contains_any([ids], [values])


def contains_any(lists: Sequence[Ids], columns: Sequence[NDArray[np.uint64]]) -> Mask:
    """[N]: is any of the columns' values [N] in any of the lists? At least one column is needed."""
    found = np.zeros(len(columns[0]), np.bool_)
    count = sum(map(len, lists))
    if not count:
        return found
    table = np.zeros(_places(count), np.uint64)
    if all(put_ids(table, ids) for ids in lists):
        for values in columns:
            mark_ids(table, values, found)
        return found
    every = np.unique(np.concatenate(lists))
    for values in columns:
        found |= _among_sorted(every, values)
    return found


def _among_sorted(ids: Ids, values: NDArray[np.uint64]) -> Mask:
    at = np.searchsorted(ids, values)
    at[at == len(ids)] = 0
    found: Mask = (ids[at] == values) & (values != 0)
    return found


def union(first: Ids, second: Ids) -> Ids:
    """Sorted, distinct ids of both."""
    if not len(first) or not len(second):
        return first if len(first) else second if len(second) else no_ids()
    merged: Ids = np.union1d(first, second)
    return merged


def first_rows(values: Ids) -> Rows:
    """[N]: the first row that holds the same value; its own for a value that is new there."""
    first = np.empty(len(values), np.intp)
    table = np.empty(_places(len(values)), np.int32)
    return first if put_first_rows(table, values, first) else _first_rows_sorted(values)


def distinct(values: Ids) -> tuple[Ids, Rows]:
    """(the distinct values [K] in order of appearance, [N] where among them each value stands)."""
    leaders, numbers = np.empty(len(values), np.intp), np.empty(len(values), np.intp)
    count = number_leaders(first_rows(values), leaders, numbers)
    return values.take(leaders[:count]), numbers


def _first_rows_sorted(values: Ids) -> Rows:
    order = values.argsort(kind="stable")  # the first of equal values is their smallest row
    ordered = values.take(order)
    opens = np.ones(len(values), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=opens[1:])
    rows = np.empty(len(values), np.intp)
    rows[order] = order[opens].take(opens.cumsum() - 1)
    return rows


def _places(count: int) -> int:
    """Of a table for so many ids: a power of two."""
    return 1 << max(count * _PLACES_PER_ID - 1, _PLACES_MIN - 1).bit_length()
