"""Bloom filters of shown posts, as ``BloomFilterEntry`` in protos/home_mixer.proto defines them.

Key of a post: its id as 8 little-endian bytes. h1, h2 = low and high 64 bits of blake2b-128 of the
key, little-endian. Bits i_j = (h1 + j · h2) mod num_bits for j in 0..num_hashes−1 (double hashing,
Kirsch and Mitzenmacher 2006), bit i = bit i mod 8 of byte i div 8. A filter may claim a post that
was never added (for ``sized_for(n, p)`` with probability about p), never deny one that was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

FILTER_BYTES_MAX: Final = 1 << 20  # 2^20 bytes hold 580,000 posts at 0.1 % false positives
NUM_HASHES_MAX: Final = 32  # more would not lower the false-positive rate of any sane filter

Hashes = NDArray[np.uint64]  # [N, 2]: h1, h2


@dataclass(frozen=True, slots=True)
class BloomFilter:
    """ValueError says what came and what was expected when the three fields do not fit."""

    bits: bytes
    num_bits: int
    num_hashes: int

    def __post_init__(self) -> None:
        if self.num_bits < 1:
            raise ValueError(f"num_bits is {self.num_bits}; at least 1 is expected")
        if not 1 <= self.num_hashes <= NUM_HASHES_MAX:
            raise ValueError(f"num_hashes is {self.num_hashes}; 1 to {NUM_HASHES_MAX} is expected")
        if len(self.bits) > FILTER_BYTES_MAX:
            raise ValueError(f"bits has {len(self.bits)} bytes; the limit is {FILTER_BYTES_MAX}")
        expected = (self.num_bits + 7) // 8
        if len(self.bits) != expected:
            raise ValueError(
                f"bits has {len(self.bits)} bytes; {self.num_bits} num_bits need exactly {expected}"
            )

    @classmethod
    def sized_for(cls, post_ids: NDArray[np.uint64], false_positive_rate: float = 0.01) -> Self:
        """A filter of the textbook size that holds ``post_ids``: m = −n ln p / (ln 2)²."""
        if not 0.0 < false_positive_rate < 1.0:
            raise ValueError(
                f"false_positive_rate is {false_positive_rate}; between 0 and 1 please"
            )
        count = max(len(post_ids), 1)
        num_bits = max(math.ceil(-count * math.log(false_positive_rate) / math.log(2) ** 2), 8)
        num_hashes = min(max(round(num_bits / count * math.log(2)), 1), NUM_HASHES_MAX)
        return cls.build(post_ids, num_bits, num_hashes)

    @classmethod
    def build(cls, post_ids: NDArray[np.uint64], num_bits: int, num_hashes: int) -> Self:
        """A filter of exactly that size that holds ``post_ids``."""
        empty = cls(bytes((num_bits + 7) // 8), num_bits, num_hashes)
        bits = np.zeros(num_bits, np.bool_)
        hashes = hash_ids(post_ids)
        for j in range(num_hashes):
            bits[empty._positions(hashes, j)] = True
        return cls(np.packbits(bits, bitorder="little").tobytes(), num_bits, num_hashes)

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """[N]: may the filter hold the post? ``hashes`` [N, 2] are from ``hash_ids``.

        Probes go hash by hash over the rows that are still possible, so that posts that are not
        in the filter, most of them, cost one or two probes.
        """
        bits = np.frombuffer(self.bits, np.uint8)
        possible = np.arange(len(hashes))
        for j in range(self.num_hashes):
            index = self._positions(hashes[possible], j)
            bit = (bits[index >> np.uint64(3)] >> (index & np.uint64(7)).astype(np.uint8)) & 1
            possible = possible[bit.astype(np.bool_)]
        found = np.zeros(len(hashes), np.bool_)
        found[possible] = True
        return found

    def _positions(self, hashes: Hashes, j: int) -> NDArray[np.uint64]:
        # Reduced before multiplying: the sum is over the integers and must not wrap at 2^64.
        m = np.uint64(self.num_bits)
        return (hashes[:, 0] % m + np.uint64(j) * (hashes[:, 1] % m)) % m


def hash_ids(post_ids: NDArray[np.uint64]) -> Hashes:
    """[N, 2] uint64: h1 and h2 of every post id [N]."""
    keys = post_ids.astype("<u8").tobytes()
    digests = b"".join(
        blake2b(keys[i : i + 8], digest_size=16).digest() for i in range(0, len(keys), 8)
    )
    return np.frombuffer(digests, "<u8").reshape(-1, 2).astype(np.uint64)
