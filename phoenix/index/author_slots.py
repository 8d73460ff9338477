"""Small numbers for the authors whose posts are here, so that a device can look them up in a table.

An author has a slot from the first of its posts to the last, then the slot is another's.

n posts of one call, S slots.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from phoenix.index.id_map import NOWHERE, put, row_of, table_length, take_out
from phoenix.index.memory import reserve

Ids = NDArray[np.uint64]
Slots = NDArray[np.int32]


class AuthorSlots:
    """Counts posts by author, for at most `slots_max` authors at a time. For one thread."""

    def __init__(self, slots_max: int) -> None:
        length = table_length(slots_max)
        self._keys, self._places = reserve((length,), np.uint64), reserve((length,), np.int32)
        self._posts = reserve((slots_max,), np.int64)
        self._free = np.arange(slots_max - 1, -1, -1, dtype=np.int32)  # a stack, slot 0 on top
        self._n_free = np.array([slots_max], np.int64)

    def take(self, author_ids: Ids) -> Slots:
        """The slot of each author [n], with one post more."""
        return _take(self._keys, self._places, self._posts, self._free, self._n_free, author_ids)

    def leave(self, author_ids: Ids) -> None:
        """One post fewer for each author."""
        _leave(self._keys, self._places, self._posts, self._free, self._n_free, author_ids)

    def known(self, author_ids: Ids) -> Slots:
        """The slots of those authors that have one."""
        found = [row_of(self._keys, self._places, author_id) for author_id in author_ids]
        return np.array([slot for slot in found if slot != NOWHERE], np.int32)


@numba.njit(nogil=True, cache=True)
def _take(
    keys: Ids,
    places: Slots,
    posts: NDArray[np.int64],
    free: Slots,
    n_free: NDArray[np.int64],
    author_ids: Ids,
) -> Slots:
    slots = np.empty(len(author_ids), np.int32)
    for at, author_id in enumerate(author_ids):
        slot = row_of(keys, places, author_id)
        if slot == NOWHERE:
            n_free[0] -= 1
            slot = free[n_free[0]]
            put(keys, places, author_id, slot)
        posts[slot] += 1
        slots[at] = slot
    return slots


@numba.njit(nogil=True, cache=True)
def _leave(
    keys: Ids,
    places: Slots,
    posts: NDArray[np.int64],
    free: Slots,
    n_free: NDArray[np.int64],
    author_ids: Ids,
) -> None:
    for author_id in author_ids:
        slot = row_of(keys, places, author_id)
        posts[slot] -= 1
        if posts[slot] == 0:
            take_out(keys, places, author_id)
            free[n_free[0]] = slot
            n_free[0] += 1
