"""Protobuf's varints as arrays: many read or written at once, without a Python object each.

A varint holds seven bits a byte, lowest first; the highest bit of all but its last byte is set.
Glossary: P varints, L bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

VARINT_BYTES_MAX: Final = 10
PADDING: Final = bytes(9)  # so that a window and two more bytes can be read behind any byte

# Bits of a varint's first eight bytes by its length.
_MASKS: Final = np.array(
    [0x7F7F7F7F7F7F7F7F & ((1 << 8 * min(n, 8)) - 1) for n in range(VARINT_BYTES_MAX + 1)],
    np.uint64,
)
# Groups of 7 bits in 8 become groups of 14 in 16, then of 28 in 32, then of 56 in 64.
_PUSHES: Final = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(shift))
    for low, high, shift in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)


def read_varints(
    padded: NDArray[np.uint8], begins: NDArray[np.intp], after: NDArray[np.intp]
) -> NDArray[np.uint64] | None:
    """Values [P] of the varints at ``begins`` up to ``after``; None where one has more than 64
    bits. ``padded`` [L]: the bytes, then `PADDING`.

    Eight bytes are read at once, and their groups of seven bits pushed together.
    """
    lengths = after - begins
    windows: NDArray[np.uint64] = np.ndarray(padded.size - 7, "<u8", padded.data, strides=(1,))
    x = windows.take(begins)
    x &= _MASKS.take(lengths, mode="clip")
    for low, high, shift in _PUSHES:
        x = (x & low) | ((x & high) >> shift)
    long = np.flatnonzero(lengths > 8)
    if long.size == 0:
        return x
    at = begins[long]
    x[long] |= (padded[at + 8] & 0x7F).astype(np.uint64) << np.uint64(56)
    longest = np.flatnonzero(lengths > 9)
    if longest.size == 0:
        return x
    last = padded[begins[longest] + 9]
    if lengths.max() > VARINT_BYTES_MAX or last.max() > 1:
        return None
    x[longest] |= last.astype(np.uint64) << np.uint64(63)
    return x


def write_varints(into: NDArray[np.uint8], values: NDArray[Any]) -> None:
    """Values [P] in their longest form, which every reader takes, into bytes [P, L]; L is 10 for
    64 bits and 5 for 32."""
    last = into.shape[1] - 1
    for place in range(last + 1):
        into[:, place] = (values >> np.uint64(7 * place)).astype(np.uint8) | np.uint8(0x80)
    into[:, last] &= 0x7F
