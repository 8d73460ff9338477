"""Tables of places for 64-bit ids, walked in compiled code. ``home_mixer.id_sets`` calls them.

An id's home follows from its bits: a multiplication by an odd constant, and the top bits of the
product. Where that place is another id's, the next ones are tried, at most ``PROBES_MAX``: whatever
ids a client sends, a look-up is bounded. Ids that would not fit say False, and the caller sorts.
Glossary: P places of a table, a power of two; K ids known; N values asked for.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from home_mixer.compiled import Flag, Id, Int, Row, helper, kernel, read, written

PROBES_MAX: Final = 64  # of random ids in a table that is a quarter full none needs twenty
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, random bits
_ONE: Final = np.uint64(1)
_EMPTY: Final = -1


@helper
def _home(value: Any, shift: Any) -> Any:
    return (value * _MIX) >> shift


@helper
def _shift(places: Any) -> Any:
    """64 − log2 of the number of places."""
    shift = np.uint64(64)
    while places > 1:
        places >>= 1
        shift -= _ONE
    return shift


@kernel(written(Id), read(Id))
def put_ids(table: Any, ids: Any) -> Any:
    """Ids [K] into a table [P] of zeros; 0 is no id. False: they do not fit."""
    last, shift = np.uint64(len(table) - 1), _shift(len(table))
    for value in ids:
        if value == 0:
            continue
        at = _home(value, shift)
        probes = 0
        while table[at] != 0 and table[at] != value:
            at = (at + _ONE) & last
            probes += 1
            if probes == PROBES_MAX:
                return False
        table[at] = value
    return True


@kernel(read(Id), read(Id), written(Flag))
def mark_ids(table: Any, values: Any, found: Any) -> None:
    """Sets found [N] where the value is in the table [P] of `put_ids`, and leaves it elsewhere."""
    last, shift = np.uint64(len(table) - 1), _shift(len(table))
    for row in range(len(values)):
        value = values[row]
        if value == 0:
            continue
        at = _home(value, shift)
        for _ in range(PROBES_MAX):
            if table[at] == value:
                found[row] = True
                break
            if table[at] == 0:
                break
            at = (at + _ONE) & last


@kernel(read(Row), read(Id), read(Id), written(Flag), written(Int))
def find_rows(table: Any, ids: Any, values: Any, found: Any, rows: Any) -> None:
    """(found [N], rows [N]) of the values, by the table [P] of `put_first_rows`; row 0 where
    unknown."""
    last, shift = np.uint64(len(table) - 1), _shift(len(table))
    for i in range(len(values)):
        at = _home(values[i], shift)
        found[i] = False
        rows[i] = 0
        for _ in range(PROBES_MAX):
            row = table[at]
            if row == _EMPTY:
                break
            if ids[row] == values[i]:
                found[i] = True
                rows[i] = row
                break
            at = (at + _ONE) & last


@kernel(written(Row), read(Id), written(Int))
def put_first_rows(table: Any, values: Any, first: Any) -> Any:
    """first [N]: the first row of the same value. False: they do not fit the table [P]."""
    last, shift = np.uint64(len(table) - 1), _shift(len(table))
    table[:] = _EMPTY
    for row in range(len(values)):
        at = _home(values[row], shift)
        probes = 0
        while table[at] != _EMPTY and values[table[at]] != values[row]:
            at = (at + _ONE) & last
            probes += 1
            if probes == PROBES_MAX:
                return False
        if table[at] == _EMPTY:
            table[at] = row
        first[row] = table[at]
    return True


@kernel(read(Int), written(Int), written(Int))
def number_leaders(first: Any, leaders: Any, numbers: Any) -> Any:
    """How many distinct values K; their first rows [:K], and [N] the number of each row's value.

    first [N] as of `put_first_rows`."""
    count = 0
    for row in range(len(first)):
        if first[row] == row:
            leaders[count] = row
            numbers[row] = count
            count += 1
        else:
            numbers[row] = numbers[first[row]]
    return count
