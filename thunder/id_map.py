"""Hash maps by 64-bit id, as plain arrays that compiled kernels share.

Two kinds: a *map* of ``keys`` and ``values``, and an *index*, whose ``slots`` hold the row + 1 of
an id that the rows themselves hold (``ids``), at a third of the memory. Open addressing with linear
probing, Fibonacci hashing (Knuth, TAOCP vol. 3, 6.4) and deletion by shifting back, so no slot is
ever left as a gravestone. 0 marks an empty slot. Callers keep both at most half full.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from thunder.compiled import helper, kernel

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio
FOLD = np.uint64(32)
ZERO = np.uint64(0)
MARK_SHIFT: Final = np.uint64(40)  # the hash's upper 24 bits; the lower choose the slot
FLAG_BITS: Final = np.uint64(8)


@helper
def mixed(key: Any) -> Any:
    product = np.uint64(key) * MULTIPLIER
    return product ^ (product >> FOLD)


@helper
def mark_of(key: Any, flags: Any) -> Any:
    """24 bits of the id's hash, then 8 flags."""
    return np.uint32(((mixed(key) >> MARK_SHIFT) << FLAG_BITS) | np.uint64(flags))


@helper
def home(slots: Any, key: Any) -> Any:
    """Slot where ``key`` would like to be."""
    return np.int64(mixed(key) & np.uint64(slots.size - 1))


@helper
def find(keys: Any, key: Any) -> Any:
    """Slot of ``key``; −1 where it is absent."""
    slot = home(keys, key)
    while keys[slot] != ZERO:
        if keys[slot] == key:
            return slot
        slot = (slot + 1) & (keys.size - 1)
    return -1


@helper
def put(keys: Any, values: Any, key: Any, value: Any) -> None:
    """Sets ``key`` to ``value``; an empty slot must exist."""
    slot = home(keys, key)
    while keys[slot] != ZERO and keys[slot] != key:
        slot = (slot + 1) & (keys.size - 1)
    keys[slot] = key
    values[slot] = value


@helper
def remove_at(keys: Any, values: Any, slot: Any) -> None:
    """Empties ``slot`` and moves back what was displaced by it."""
    mask = keys.size - 1
    hole = slot
    probe = (hole + 1) & mask
    while keys[probe] != ZERO:
        distance = (probe - home(keys, keys[probe])) & mask
        if distance >= ((probe - hole) & mask):
            keys[hole] = keys[probe]
            values[hole] = values[probe]
            hole = probe
        probe = (probe + 1) & mask
    keys[hole] = ZERO


@helper
def find_row(slots: Any, ids: Any, key: Any) -> Any:
    """Row of ``key``; −1 where it is absent."""
    slot = home(slots, key)
    while slots[slot] != 0:
        row = np.int64(slots[slot]) - 1
        if ids[row] == key:
            return row
        slot = (slot + 1) & (slots.size - 1)
    return np.int64(-1)


@helper
def put_row(slots: Any, key: Any, row: Any) -> None:
    """Adds a ``key`` that is absent; an empty slot must exist."""
    slot = home(slots, key)
    while slots[slot] != 0:
        slot = (slot + 1) & (slots.size - 1)
    slots[slot] = row + 1


@helper
def remove_row(slots: Any, ids: Any, key: Any) -> None:
    """Removes a ``key`` that is there and moves back what was displaced by it."""
    mask = slots.size - 1
    hole = home(slots, key)
    while ids[np.int64(slots[hole]) - 1] != key:
        hole = (hole + 1) & mask
    probe = (hole + 1) & mask
    while slots[probe] != 0:
        wanted = home(slots, ids[np.int64(slots[probe]) - 1])
        if ((probe - wanted) & mask) >= ((probe - hole) & mask):
            slots[hole] = slots[probe]
            hole = probe
        probe = (probe + 1) & mask
    slots[hole] = 0


@kernel
def rehash(old_keys: Any, old_values: Any, keys: Any, values: Any) -> None:
    """Copies every pair into the empty, larger map."""
    for slot in range(old_keys.size):
        if old_keys[slot] != ZERO:
            put(keys, values, old_keys[slot], old_values[slot])


@kernel
def index_rows(ids: Any, slots: Any) -> None:
    """Puts all rows whose id is not 0 into an empty index."""
    for row in range(ids.size):
        if ids[row] != ZERO:
            put_row(slots, ids[row], row)


@helper
def crowded(slots: Any, count: Any) -> Any:
    """Whether one more would fill the map or index beyond one half."""
    return 2 * (count + 1) > slots.size
