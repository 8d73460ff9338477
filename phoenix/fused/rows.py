"""Rows of hash tables, copied one after the other; XLA on a processor asks for every number's
place apart, in 0.8 ms for 2,400 rows of 64 (two cores, 2026-11-22) where this takes 0.1.

C candidates, J hashes of an id, E table width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.fused.instructions import kernel

Floats = NDArray[np.float32]


def gathered(table: Any, hashes: NDArray[np.int32]) -> Floats:
    """Rows [..., E] at [...] of a table [rows, E] float32; NaN where one is out of range."""
    held = np.asarray(table)
    out = np.empty((hashes.size, held.shape[1]), np.float32)
    copy_rows(held, hashes.reshape(-1), out)
    return out.reshape(*hashes.shape, -1)


@kernel
def copy_rows(table: Floats, wanted: NDArray[np.int32], out: Floats) -> None:
    """out[i] = table[wanted[i]]."""
    rows, width = table.shape
    for i in range(len(wanted)):
        row = np.uint64(wanted[i])
        if row < np.uint64(rows):
            for column in range(width):
                out[i, column] = table[row, column]
        else:
            for column in range(width):
                out[i, column] = np.float32(np.nan)
