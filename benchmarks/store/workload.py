"""The store's workload: posts of a Zipf-Mandelbrot world, and requests of people who follow.

40 % originals, 35 % replies (to recent posts, in conversations), 25 % reposts; 15 % have a video;
one in a hundred is deleted. Few authors write much and half of them four posts or fewer. Who is
followed leans to those who write: about 50 stored posts an author followed.

Glossary: N posts, A authors, Q requests, F followed and X excluded ids of a request.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from thunder.layout import REPLY, REPOST, ROW, VIDEO
from thunder.store import RETENTION_MS

NOW_MS: Final = 1_790_000_000_000
AGE_MAX_MS: Final = RETENTION_MS - 600_000  # nothing expires before time passes
SNOWFLAKE_EPOCH_MS: Final = 1_288_834_974_657
# Posts by rank ∝ (rank + SHIFT)^−EXPONENT: of 10 M posts and 1 M authors the most active wrote
# about 1,000 and the median one four.
SHIFT: Final = 1_000
EXPONENT: Final = 0.9
FOLLOW_EXPONENT: Final = 0.6  # followed ∝ posts^0.6: about 50 stored posts an author
ORIGINALS, REPLIES = 0.40, 0.35  # the rest reposts
VIDEOS: Final = 0.15
DELETED: Final = 0.01
PARENT_LAG: Final = 0.02  # a reply's parent lies this share of all posts back, on average
UNKNOWN_PARENT: Final = 0.05  # replies to what the store never held
EXCLUDED: Final = 1_000


@dataclass(frozen=True)
class World:
    """``posts`` [N] ROW oldest first, ``flags`` [N], ``dead`` [D] indices of deleted posts; the
    last ``extra`` of them come while the benchmark runs."""

    posts: NDArray[np.void]
    flags: NDArray[np.uint8]
    dead: NDArray[np.int64]
    author_ids: NDArray[np.uint64]  # [A]
    follow_cumulated: NDArray[np.float64]  # [A]
    extra: int

    def at_start(self) -> World:
        """Without what comes later."""
        kept = self.posts.size - self.extra
        return dataclasses.replace(self, posts=self.posts[:kept], flags=self.flags[:kept], extra=0)


@dataclass(frozen=True)
class Request:
    viewer_id: int
    following_ids: NDArray[np.uint64]  # [F] all different
    excluded_ids: NDArray[np.uint64]  # [X]


def make_world(
    posts_count: int, authors_count: int, rng: np.random.Generator, extra: int = 0
) -> World:
    """``posts_count`` posts before NOW_MS and ``extra`` as densely after it."""
    count = posts_count + extra
    ranks = rng.permutation(authors_count)
    weights = (ranks + SHIFT) ** -EXPONENT
    authors = np.searchsorted(_cumulated(weights), rng.random(count)).astype(np.int32)
    author_ids = _scattered(np.arange(1, authors_count + 1))
    posts = np.zeros(count, ROW)
    posts["author_id"] = author_ids[authors]
    later_ms = AGE_MAX_MS * extra // posts_count
    before_ms = np.sort(rng.integers(NOW_MS - AGE_MAX_MS, NOW_MS, posts_count))
    after_ms = np.sort(rng.integers(NOW_MS, NOW_MS + later_ms + 1, extra))
    created_ms = np.concatenate([before_ms, after_ms])
    posts["created_at_ms"] = created_ms
    posts["post_id"] = _snowflakes(created_ms)
    flags = _refer(posts, rng)
    flags |= np.where(rng.random(count) < VIDEOS, VIDEO, 0).astype(np.uint8)
    dead = rng.choice(posts_count, int(posts_count * DELETED), replace=False)
    return World(
        posts, flags, np.sort(dead), author_ids, _cumulated(weights**FOLLOW_EXPONENT), extra
    )


def make_requests(
    world: World, follows: int, count: int, rng: np.random.Generator
) -> list[Request]:
    """``count`` requests of ``follows`` followed authors; the excluded are recent posts of them."""
    start = world.at_start()
    return [_request(start, follows, rng) for _ in range(count)]


def posts_by_followed(world: World, requests: list[Request]) -> float:
    """Stored posts an author followed, on average."""
    ids, counts = np.unique(world.posts["author_id"], return_counts=True)
    followed = np.concatenate([r.following_ids for r in requests])
    at = np.minimum(np.searchsorted(ids, followed), ids.size - 1)
    return float(np.where(ids[at] == followed, counts[at], 0).mean())


def _request(world: World, follows: int, rng: np.random.Generator) -> Request:
    draws = np.searchsorted(world.follow_cumulated, rng.random(4 * follows))
    _, first = np.unique(draws, return_index=True)
    followed = draws[np.sort(first)[:follows]]
    viewer = followed[0]  # whose reposts by others must not come back
    recent = rng.integers(int(world.posts.size * 0.7), world.posts.size, EXCLUDED // 2)
    excluded = world.posts["post_id"][np.concatenate([recent, _newest_of(world, followed, rng)])]
    return Request(int(world.author_ids[viewer]), world.author_ids[followed], excluded)


def _newest_of(
    world: World, followed: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Indices of posts that the followed wrote lately: what the viewer has just been shown."""
    tail = world.posts["author_id"][-world.posts.size // 20 :]
    theirs = np.flatnonzero(np.isin(tail, world.author_ids[followed]))
    first = world.posts.size - tail.size
    if theirs.size == 0:
        return np.zeros(0, np.int64)
    return first + rng.choice(theirs, EXCLUDED - EXCLUDED // 2)


def _refer(posts: NDArray[np.void], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Makes replies and reposts of some posts; returns the flags."""
    count = posts.size
    draw, index = rng.random(count), np.arange(count)
    back = 1 + rng.exponential(max(1.0, PARENT_LAG * count), count).astype(np.int64)
    target = index - back
    refers = (draw >= ORIGINALS) & (target >= 0)
    is_reply = refers & (draw < ORIGINALS + REPLIES)
    is_repost = refers & ~is_reply
    root = np.where(is_reply, target, index)
    while not np.array_equal(further := root[root], root):
        root = further
    known = is_reply & (rng.random(count) >= UNKNOWN_PARENT)
    posts["in_reply_to_post_id"][is_reply] = 1  # an id from before the store's time
    posts["in_reply_to_post_id"][known] = posts["post_id"][target[known]]
    posts["in_reply_to_user_id"][known] = posts["author_id"][target[known]]
    posts["conversation_id"][is_reply] = posts["post_id"][root[is_reply]]
    posts["source_post_id"][is_repost] = posts["post_id"][target[is_repost]]
    posts["source_user_id"][is_repost] = posts["author_id"][target[is_repost]]
    return (np.where(is_reply, REPLY, 0) + np.where(is_repost, REPOST, 0)).astype(np.uint8)


def _cumulated(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.cumsum(weights) / weights.sum())


def _scattered(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Different 48-bit ids without an order, as people's ids are to a hash map."""
    return (numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4B)) & np.uint64((1 << 48) - 1)


def _snowflakes(created_ms: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Ascending ids whose upper bits are their time; the lower tell posts of one millisecond
    apart. ``created_ms`` ascends."""
    ticks = (created_ms - SNOWFLAKE_EPOCH_MS).astype(np.uint64)
    serial = np.arange(created_ms.size) - np.searchsorted(created_ms, created_ms)
    return (ticks << np.uint64(22)) | serial.astype(np.uint64)
