"""Membership and equality of 64-bit ids by the thousand: array operations on a table of places.

An id's place in a table follows from its bits (a multiplication by an odd constant, and the top
bits of the product). Two ids of one place are told apart by comparing the ids themselves; the one
that was pushed out is looked for in a second, smaller table with another constant, and so on, and
in the end by a binary search. So answers are exact and the time is bounded whatever ids a client
sends. Against sorting or a binary search for every value this is two to eight times faster at
the sizes of a feed. Glossary: K ids known, N values asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from home_mixer.query import Ids, no_ids

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

# Odd, random bits; one a table. Ids that share a place in all of them are searched for.
_MULTIPLIERS: Final = tuple(
    np.uint64(one) for one in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)
_PLACES_PER_ID: Final = 16  # one id in 32 is pushed out
_BITS_MIN: Final = 15  # 128 KB, which the cache of a core holds; a viewer's lists push few out
_FEW_PUSHED_OUT: Final = 8  # are compared one by one, which is cheaper than a table
_FEW: Final = 256  # values: below, a binary search costs less than a table


class IdRows:
    """Where each of K distinct ids stands. Build it once, ask for many."""

    def __init__(self, ids: Ids, *, level: int = 0) -> None:
        """``level``: how many tables pushed these ids out; for this class's own use."""
        self._ids = ids
        self._level = level
        self._order: Rows | None = None
        self._few: list[tuple[np.uint64, int]] = []
        self._rest: tuple[IdRows, Rows] | None = None
        if level == len(_MULTIPLIERS) or not len(ids):
            self._order = np.argsort(ids)
            return
        self._bits = _bits(len(ids))
        place, rows = _places(ids, level, self._bits), np.arange(len(ids), dtype=np.int32)
        self._table = np.zeros(1 << self._bits, np.int32)  # an empty place says row 0: compared
        self._table[place] = rows
        pushed_out = np.flatnonzero(self._table[place] != rows)
        if len(pushed_out) <= _FEW_PUSHED_OUT:
            self._few = [(ids[row], row) for row in pushed_out.tolist()]
        else:
            self._rest = IdRows(ids[pushed_out], level=level + 1), pushed_out

    def find(self, values: Ids) -> tuple[Mask, Rows]:
        """([N] is it known, [N] its row; of an unknown one any row). K may be 0."""
        if self._order is not None:
            return self._search(values, self._order)
        rows = self._table.take(_places(values, self._level, self._bits)).astype(np.intp)
        found: Mask = self._ids.take(rows) == values
        for one, row in self._few:
            here = values == one
            found |= here
            rows[here] = row
        if self._rest is not None:
            rest, known_rows = self._rest
            asked = (~found).nonzero()[0]
            found_there, at = rest.find(values.take(asked))
            found[asked] = found_there
            rows[asked[found_there]] = known_rows[at[found_there]]
        return found, rows

    def _search(self, values: Ids, order: Rows) -> tuple[Mask, Rows]:
        if not len(order):
            return np.zeros(len(values), np.bool_), np.zeros(len(values), np.intp)
        at = np.searchsorted(self._ids, values, sorter=order)
        at[at == len(order)] = 0
        rows = order[at]
        return self._ids[rows] == values, rows


def contains(ids: Ids, values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """[N]: is the value [N] among ``ids`` (sorted, distinct)? 0 means "none" and never is."""
    if len(ids) and ids[0] == 0:
        ids = ids[1:]
    if not len(ids):
        return np.zeros(len(values), np.bool_)
    if len(values) >= _FEW:
        return IdRows(ids).find(values)[0]
    at = np.searchsorted(ids, values)
    at[at == len(ids)] = 0
    found: NDArray[np.bool_] = ids[at] == values
    return found


def contains_any(ids: Ids, columns: Sequence[NDArray[np.uint64]]) -> NDArray[np.bool_]:
    """[N]: is any of the columns' values [N] among ``ids``? At least one column is needed."""
    every = contains(ids, np.concatenate(columns)).reshape(len(columns), -1)
    found: NDArray[np.bool_] = np.logical_or.reduce(every, axis=0)
    return found


def union(first: Ids, second: Ids) -> Ids:
    """Sorted, distinct ids of both."""
    if not len(first) or not len(second):
        return first if len(first) else second if len(second) else no_ids()
    merged: Ids = np.union1d(first, second)
    return merged


def first_rows(values: Ids) -> Rows:
    """[N]: the first row that holds the same value; its own for a value that is new there."""
    return _first_rows(values, 0)


def distinct(values: Ids) -> tuple[Ids, Rows]:
    """(the distinct values [K] in order of appearance, [N] where among them each value stands)."""
    first = first_rows(values)
    leaders = (first == np.arange(len(values))).nonzero()[0]
    number = np.empty(len(values), np.intp)
    number[leaders] = np.arange(len(leaders))
    return values.take(leaders), number.take(first)


def _first_rows(values: Ids, level: int) -> Rows:
    count = len(values)
    if level == len(_MULTIPLIERS) or count < _FEW:
        return _first_rows_sorted(values)
    bits = _bits(count)
    place = _places(values, level, bits)
    table = np.empty(1 << bits, np.int32)  # what is read below was written before
    table[place[::-1]] = np.arange(count - 1, -1, -1, dtype=np.int32)  # the last written stays
    rows = table.take(place).astype(np.intp)
    others = (values.take(rows) != values).nonzero()[0]  # all rows of a value, or none
    if len(others):
        rows[others] = others.take(_first_rows(values.take(others), level + 1))
    return rows


def _first_rows_sorted(values: Ids) -> Rows:
    order = values.argsort(kind="stable")  # the first of equal values is their smallest row
    ordered = values.take(order)
    opens = np.ones(len(values), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=opens[1:])
    rows = np.empty(len(values), np.intp)
    rows[order] = order[opens].take(opens.cumsum() - 1)
    return rows


def _bits(count: int) -> int:
    """Of a table for so many ids."""
    return max((count * _PLACES_PER_ID).bit_length(), _BITS_MIN)


def _places(ids: Ids, level: int, bits: int) -> Rows:
    mixed = ids * _MULTIPLIERS[level]
    mixed >>= np.uint64(64 - bits)
    places: Rows = mixed.view(np.intp)
    return places
