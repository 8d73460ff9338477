"""Hash maps from 64-bit ids to numbers, as plain arrays that compiled kernels share.

Open addressing with linear probing, Fibonacci hashing (Knuth, TAOCP vol. 3, 6.4) and deletion by
shifting back, so no slot is ever left as a gravestone. Key 0 marks an empty slot. Callers keep
maps at most half full.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thunder.compiled import helper, kernel

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio
FOLD = np.uint64(32)
ZERO = np.uint64(0)


@helper
def home(keys: Any, key: Any) -> Any:
    """Slot where ``key`` would like to be."""
    mixed = np.uint64(key) * MULTIPLIER
    return np.int64((mixed ^ (mixed >> FOLD)) & np.uint64(keys.size - 1))


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


@kernel
def rehash(old_keys: Any, old_values: Any, keys: Any, values: Any) -> None:
    """Copies every pair into the empty, larger map."""
    for slot in range(old_keys.size):
        if old_keys[slot] != ZERO:
            put(keys, values, old_keys[slot], old_values[slot])


@helper
def crowded(keys: Any, count: Any) -> Any:
    """Whether one more pair would fill the map beyond one half."""
    return 2 * (count + 1) > keys.size
