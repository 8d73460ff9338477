"""Hash functions from 64-bit ids to embedding rows.

    h_j(id) = ((id · scale_j + bias_j) mod modulus) mod (rows − 1) + 1,  h_j(0) = 0

The product is signed 64-bit and wraps around; the modulo is the floored one, hence not negative
(constants and formula: the original's hash configuration, May 2026). Row 0 is padding. Two
functions an id: two ids that share one row rarely share both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HashFamily:
    """The constants of one kind of id: one scale and bias per function, one modulus."""

    scales: tuple[int, ...]
    biases: tuple[int, ...]
    modulus: int


USER_HASH = HashFamily((196742702, 1852108266), (1935840681, 167407236), 2859568897)
POST_HASH = HashFamily((2161410491, 1754358832), (1935840681, 167407236), 2361375383)
TAG_HASH = HashFamily((1103515245,), (12345,), 2147483647)  # glibc's rand; one function
AUTHOR_HASH = HashFamily((371965780, 328930218), (139686260, 37755056), 631860353)


def hash_ids(
    ids: NDArray[Any], family: HashFamily, rows: int, num_hashes: int = 2
) -> NDArray[np.int32]:
    """Rows of `ids` [...] (int64 or uint64) → [..., num_hashes] int32 in 0..rows − 1."""
    signed = _as_int64(ids)[..., None]
    scales = np.asarray(family.scales[:num_hashes], np.int64)
    biases = np.asarray(family.biases[:num_hashes], np.int64)
    mixed = np.mod(signed * scales + biases, family.modulus)
    hashed = np.where(signed == 0, 0, np.mod(mixed, rows - 1) + 1)
    return hashed.astype(np.int32)


def _as_int64(ids: NDArray[Any]) -> NDArray[np.int64]:
    array = np.asarray(ids)
    if array.dtype == np.uint64:
        return array.view(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers of up to 64 bits, not {array.dtype}")
    return array.astype(np.int64)
