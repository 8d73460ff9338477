"""A copy of the store's arrays: what a snapshot is written from while inserts go on.

A disk takes a gigabyte in seconds, memory in tenths of one: inserts wait for the copy alone, and
that goes into pages which the system has handed out before.
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
GROWTH_SHARE_BITS: Final = 6  # room for 1/64 more: what comes between `room_for` and `copied`

Arrays = Mapping[str, NDArray[Any]]


def room_for(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Memory that is at hand for copies of the arrays, grown a little. By name."""
    room = {}
    for name, array in arrays.items():
        size = len(array) + (len(array) >> GROWTH_SHARE_BITS)
        room[name] = layout.zeros(size, array.dtype)
        _bytes(room[name]).fill(0)  # a page is handed out when it is written
    return room


def copied(arrays: Arrays, room: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Contiguous arrays of the same names, shapes and bytes that share nothing with ``arrays``;
    in ``room``, which is used up, where it suffices."""
    copies = {name: _place(array, room.pop(name, None)) for name, array in arrays.items()}
    with ThreadPoolExecutor(THREADS, "thunder-snapshot") as threads:
        copying = [
            threads.submit(np.copyto, target, source)
            for name, array in arrays.items()
            for target, source in zip(_parts(copies[name]), _parts(array), strict=True)
        ]
    for part in copying:
        part.result()  # raises what failed
    return copies


def _place(array: NDArray[Any], room: NDArray[Any] | None) -> NDArray[Any]:
    if room is None or len(room) < len(array):
        return layout.zeros(len(array), array.dtype)
    return room[: len(array)]


def _parts(array: NDArray[Any]) -> list[NDArray[np.uint8]]:
    flat = _bytes(array)
    return [flat[begin : begin + CHUNK_BYTES] for begin in range(0, flat.size, CHUNK_BYTES)]


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
