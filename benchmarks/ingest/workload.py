"""Posts as the feeder writes them to the compact topic, as it reads them, and as the store takes.

Skewed authors; 40 % originals, of which 15 % with a video, 35 % replies, 25 % reposts; ids without
order. The bytes are laid out by numpy, for a million of them in a second; a test holds them against
the generated classes.

Glossary: n posts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protos.events_pb2 import Media, PostCreate, PostEvent
from service_kit.event_log import TOPIC_IN_NETWORK, TOPIC_POSTS
from service_kit.partitions import keys_of
from thunder.layout import REPLY, REPOST, ROW, VIDEO

AUTHOR_SKEW: Final = 1.5  # the busiest of a million authors wrote a thousand of ten million posts
POSTS_PER_AUTHOR: Final = 10
SHARES: Final = (0.34, 0.06, 0.35, 0.25)  # plain, video, reply, repost
REPLIES, REPOSTS = 2, 3  # indices of SHARES
FLAGS: Final = np.array([0, VIDEO, REPLY, REPOST], np.uint8)
AGE_MS_MAX: Final = 86_400_000
TIME_BYTES: Final = 6  # of a varint between 2004 and 2109
# Tags of InNetworkCreate, by field of ROW: (number << 3) | 1 for fixed64.
TAGS: Final = {
    "post_id": 0x09,
    "author_id": 0x11,
    "in_reply_to_post_id": 0x21,
    "in_reply_to_user_id": 0x29,
    "source_post_id": 0x31,
    "source_user_id": 0x39,
    "conversation_id": 0x41,
}
FIELDS: Final = (
    ("post_id", "author_id"),
    ("post_id", "author_id"),
    ("post_id", "author_id", "in_reply_to_post_id", "in_reply_to_user_id", "conversation_id"),
    ("post_id", "author_id", "source_post_id", "source_user_id"),
)


TEXT: Final = "What a day to write a post of some hundred and forty characters, as people do. " * 2


@dataclass(frozen=True, slots=True)
class Workload:
    """``posts`` [n] ROW, ``flags`` [n], and for each the key and value of its record in
    ``topic``."""

    posts: NDArray[np.void]
    flags: NDArray[np.uint8]
    keys: list[bytes]
    values: list[bytes]
    topic: str = TOPIC_IN_NETWORK

    def as_posts(self) -> Workload:
        """The same posts as whoever writes them publishes them, each with a text."""
        events = [
            post_event(post, flags)
            for post, flags in zip(self.posts, self.flags.tolist(), strict=True)
        ]
        values = [event.SerializeToString() for event in events]
        return replace(self, values=values, topic=TOPIC_POSTS)

    def entries(self, begin: int, end: int, now_ms: int) -> list[tuple[bytes, bytes, int]]:
        """(key, value, time) of some of them, for a sink."""
        pairs = zip(self.keys[begin:end], self.values[begin:end], strict=True)
        return [(key, value, now_ms) for key, value in pairs]


def make(n: int, now_ms: int, seed: int = 1, first_id: int = 1) -> Workload:
    """n posts of the last day. Ids are `first_id` and those after it, in no order."""
    posts, kinds = posts_of(n, now_ms, seed, first_id)
    return Workload(posts, FLAGS[kinds], keys_of(posts["author_id"]), values_of(posts, kinds))


def posts_of(
    n: int, now_ms: int, seed: int = 1, first_id: int = 1
) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """As `make`, without the records: posts [n] and the kind of each, its index in SHARES."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(SHARES), n, p=SHARES)
    posts = np.zeros(n, ROW)
    posts["post_id"] = (rng.permutation(n) + first_id).astype(np.uint64)
    authors = max(1, n // POSTS_PER_AUTHOR)
    posts["author_id"] = (authors * rng.random(n) ** AUTHOR_SKEW).astype(np.uint64) + 1
    posts["created_at_ms"] = now_ms - rng.integers(1, AGE_MS_MAX, n)
    others = rng.integers(0, n, n)
    for name, kind in (("in_reply_to", REPLIES), ("source", REPOSTS)):
        here = kinds == kind
        posts[f"{name}_post_id"][here] = posts["post_id"][others[here]]
        posts[f"{name}_user_id"][here] = posts["author_id"][others[here]]
    posts["conversation_id"] = posts["in_reply_to_post_id"]
    return posts, kinds


def post_event(post: np.void, flags: int) -> PostEvent:
    """Of one ROW."""
    create = PostCreate(
        post_id=post["post_id"],
        author_id=post["author_id"],
        created_at_ms=post["created_at_ms"],
        text=TEXT,
        language_code="en",
    )
    if flags & REPLY:
        create.in_reply_to_post_id = post["in_reply_to_post_id"]
        create.in_reply_to_user_id = post["in_reply_to_user_id"]
        create.conversation_id = post["conversation_id"]
    if flags & REPOST:
        create.reposted_post_id = post["source_post_id"]
        create.reposted_user_id = post["source_user_id"]
    if flags & VIDEO:
        create.media.append(Media(kind=Media.KIND_VIDEO, duration_ms=60_000))
    return PostEvent(create=create)


def values_of(posts: NDArray[np.void], kinds: NDArray[np.int64]) -> list[bytes]:
    """InNetworkEvent of each post [n], as bytes."""
    values: list[bytes] = [b""] * len(posts)
    for kind, fields in enumerate(FIELDS):
        at = np.flatnonzero(kinds == kind)
        wire = _layout(fields, has_video=kind == 1)
        rows = np.zeros(at.size, wire)
        rows["head"] = (0x0A, wire.itemsize - 2)
        for name in fields:
            rows[f"tag_{name}"] = TAGS[name]
            rows[name] = posts[name][at]
        rows["tag_time"] = 0x18
        rows["time"] = _varints(posts["created_at_ms"][at])
        if kind == 1:
            rows["video"] = (0x48, 1)
        joined, size = rows.tobytes(), wire.itemsize
        for i, place in enumerate(at.tolist()):
            values[place] = joined[i * size : (i + 1) * size]
    return values


def _layout(fields: tuple[str, ...], *, has_video: bool) -> np.dtype[np.void]:
    """One record's bytes, without gaps, fields in the order of their numbers."""
    parts: list[tuple[str, object]] = [("head", (np.uint8, 2))]
    for name in fields[:2]:
        parts += [(f"tag_{name}", np.uint8), (name, "<u8")]
    parts += [("tag_time", np.uint8), ("time", (np.uint8, TIME_BYTES))]
    for name in fields[2:]:
        parts += [(f"tag_{name}", np.uint8), (name, "<u8")]
    return np.dtype(parts + ([("video", (np.uint8, 2))] if has_video else []))


def _varints(times_ms: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[n, TIME_BYTES]"""
    shifts = 7 * np.arange(TIME_BYTES)
    bytes_ = (times_ms[:, None] >> shifts) & 0x7F
    bytes_[:, :-1] |= 0x80
    return bytes_.astype(np.uint8)
