"""Keys of the Redis stores: ``<prefix>:<version>:{<tag>}:<what>:<id>``.

Posts and users are dealt into 256 buckets by a hash of their id. Keys of one bucket share a hash
tag and thus a slot of Redis Cluster: what is used together lies together, and a read of many ids
is one MGET a bucket. Each bucket has a marker in the same slot, which shares its keys' fate.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence

import numpy as np

from home_mixer.clients.protocols import Ids

VERSION = 1  # bump when a key or value changes meaning; the old keys then expire by themselves
BUCKETS = 256  # enough to spread over 32 masters; few enough for one MGET each
CLUSTER_SLOTS = 16_384
MIX = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: snowflakes differ little in their low bits
MIX_SHIFT = np.uint64(56)  # 64 bits down to those of a bucket


class KeySchema:
    """Makes every key of one deployment."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        root = f"{prefix}:{VERSION}:"
        self._roots = [f"{root}{{{tag}}}:" for tag in bucket_tags()]
        self.state = f"{root}{{state}}:ingester"
        self.markers = [f"{root}filled" for root in self._roots]

    def posts(self, post_ids: Sequence[int], buckets: Sequence[int]) -> list[str]:
        """Keys of the posts' contents."""
        return self._keys("post", post_ids, buckets)

    def statuses(self, post_ids: Sequence[int], buckets: Sequence[int]) -> list[str]:
        """Keys of the posts' deletions and labels."""
        return self._keys("status", post_ids, buckets)

    def profiles(self, user_ids: Sequence[int], buckets: Sequence[int]) -> list[str]:
        """Keys of profiles."""
        return self._keys("profile", user_ids, buckets)

    def user(self, what: str, user_id: int) -> str:
        """Key of one user's ``what``: edges, keywords, actions, served, request."""
        return f"{self._roots[bucket_of(user_id)]}{what}:{user_id}"

    def edges(self, kind: int, user_id: int) -> str:
        """Key of a user's edges of one kind, an events_pb2.GraphEdge.Kind."""
        return self.user(f"edges{kind}", user_id)

    def _keys(self, what: str, ids: Sequence[int], buckets: Sequence[int]) -> list[str]:
        roots = self._roots
        return [
            f"{roots[bucket]}{what}:{number}" for number, bucket in zip(ids, buckets, strict=True)
        ]


def buckets_of(ids: Ids) -> list[int]:
    """Bucket of each id [B]."""
    found: list[int] = ((ids * MIX) >> MIX_SHIFT).tolist()
    return found


def bucket_of(number: int) -> int:
    """`buckets_of` for one id."""
    return (number * int(MIX) % (1 << 64)) >> int(MIX_SHIFT)


def bucket_tags() -> list[int]:
    """[BUCKETS] The least number whose slot lies in the b-th of as many equal ranges of slots:
    masters that share the slots evenly share the buckets evenly."""
    tags: dict[int, int] = {}
    number = 0
    while len(tags) < BUCKETS:
        slot = crc_hqx(str(number).encode(), 0) % CLUSTER_SLOTS
        tags.setdefault(slot * BUCKETS // CLUSTER_SLOTS, number)
        number += 1
    return [tags[bucket] for bucket in range(BUCKETS)]
