"""Ids in open addressing: a map from post id to row, and sets of ids that a search leaves out.

A table's length is a power of two and at least twice its entries, so that a look-up reads one or
two neighbours. An id starts at upper bits of id * 2^64 / golden ratio, which scatter
snowflakes although their low bits repeat (Knuth, volume 3, 6.4). A table has 2^32 places at most.

T table length, P ids.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint64]
Rows = NDArray[np.int32]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
NOWHERE = -1


def table_length(entries_max: int) -> int:
    """The power of two that keeps a table at most half full; 2 at least."""
    return 1 << max(1, (2 * entries_max - 1).bit_length())


@numba.njit(nogil=True, cache=True)
def _home(id_: np.uint64, last: int) -> int:
    """Where an id would like to lie in a table whose last place is `last`."""
    return int((id_ * _GOLDEN) >> np.uint64(32)) & last


@numba.njit(nogil=True, cache=True)
def find(keys: Ids, slots: Rows, id_: np.uint64) -> int:
    """Where `id_` lies in the table, or the empty place where it would be put."""
    last = len(keys) - 1
    at = _home(id_, last)
    while slots[at] != 0 and keys[at] != id_:
        at = (at + 1) & last
    return at


@numba.njit(nogil=True, cache=True)
def row_of(keys: Ids, slots: Rows, id_: np.uint64) -> Any:
    """The row of `id_`, or NOWHERE. A slot holds row + 1, so that zeros are an empty map."""
    return slots[find(keys, slots, id_)] - 1


@numba.njit(nogil=True, cache=True)
def put(keys: Ids, slots: Rows, id_: np.uint64, row: int) -> None:
    """Maps `id_` to `row`, whatever it was before."""
    at = find(keys, slots, id_)
    keys[at], slots[at] = id_, row + 1


@numba.njit(nogil=True, cache=True)
def take_out(keys: Ids, slots: Rows, id_: np.uint64) -> None:
    """Forgets `id_`; those behind it that it had pushed on move up."""
    last = len(keys) - 1
    hole = find(keys, slots, id_)
    if slots[hole] == 0:
        return
    at = (hole + 1) & last
    while slots[at] != 0:
        wanted = _home(keys[at], last)
        if ((at - wanted) & last) >= ((at - hole) & last):
            keys[hole], slots[hole] = keys[at], slots[at]
            hole = at
        at = (at + 1) & last
    slots[hole] = 0


@numba.njit(nogil=True, cache=True)
def fill_set(table: Ids, ids: Ids) -> None:
    """Puts `ids` [P] into a table of zeros [T]; kept are id + 1, so that zero is an empty place.

    2^64 - 1 cannot be held, and is no id.
    """
    last = len(table) - 1
    for id_ in ids:
        key = np.uint64(id_ + np.uint64(1))
        at = _home(key, last)
        while table[at] != 0 and table[at] != key:
            at = (at + 1) & last
        table[at] = key


@numba.njit(nogil=True, cache=True)
def in_set(table: Ids, id_: np.uint64) -> bool:
    """Whether a table of `fill_set` holds `id_`."""
    last = len(table) - 1
    key = np.uint64(id_ + np.uint64(1))
    at = _home(key, last)
    while table[at] != 0:
        if table[at] == key:
            return True
        at = (at + 1) & last
    return False
