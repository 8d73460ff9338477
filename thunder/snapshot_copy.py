"""A copy of the store's arrays: what a snapshot is written from while inserts go on.

A disk takes a gigabyte in seconds, memory in tenths of one: inserts wait for the copy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from thunder import layout

THREADS: Final = 2  # one core alone does not fill the memory's bandwidth
CHUNK_BYTES: Final = 16 << 20


def copied(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Contiguous arrays of the same names, shapes and bytes that share nothing with them."""
    copies = {name: layout.zeros(len(array), array.dtype) for name, array in arrays.items()}
    with ThreadPoolExecutor(THREADS, "thunder-snapshot") as threads:
        copying = [
            threads.submit(np.copyto, target, source)
            for name, array in arrays.items()
            for target, source in zip(_parts(copies[name]), _parts(array), strict=True)
        ]
    for part in copying:
        part.result()  # raises what failed
    return copies


def _parts(array: NDArray[Any]) -> list[NDArray[np.uint8]]:
    flat = array.reshape(-1).view(np.uint8)
    return [flat[begin : begin + CHUNK_BYTES] for begin in range(0, flat.size, CHUNK_BYTES)]
