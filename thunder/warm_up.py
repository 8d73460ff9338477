"""Compiles every kernel, or loads it from the cache, before the first real event or query."""

from __future__ import annotations

from typing import Final

import numpy as np

from service_kit.clock import Clock
from thunder.answers import authors_and_replies, encode_answer
from thunder.events import PostBatch, decode_batch
from thunder.in_network import decode_in_network, encode
from thunder.layout import REPLY, REPOST, ROW, VIDEO
from thunder.store import PostStore, Query

POSTS: Final = 200  # twice the room of the throw-away store, so maps grow and posts are evicted
POSTS_MAX: Final = 100


def warm_up(clock: Clock) -> None:
    """Runs a throw-away store through inserts, growth, eviction, statuses, trim and queries, and
    both topics' decoders and the compact one's encoder through nothing."""
    decode_batch([])
    encode(PostBatch(), 1, 0)
    decode_in_network([])
    store = PostStore(clock, posts_max=POSTS_MAX)
    posts = np.zeros(POSTS, ROW)
    posts["post_id"] = np.arange(1, POSTS + 1)
    posts["author_id"] = 1 + np.arange(POSTS) % 7
    posts["created_at_ms"] = clock.now_ms() - POSTS + np.arange(POSTS)
    posts["in_reply_to_post_id"] = posts["source_post_id"] = POSTS // 2
    kinds = np.array([0, REPLY, REPOST, VIDEO], np.uint8)
    store.insert(posts, kinds[np.arange(POSTS) % kinds.size])
    times_ms = np.full(POSTS, clock.now_ms(), np.int64)
    store.apply_statuses((posts["post_id"].copy(), times_ms, np.ones(POSTS, np.uint8)))
    following = np.arange(1, 8, dtype=np.uint64)
    for videos in (False, True):
        found = store.query(Query(1, following, following, 10, videos))
    encode_answer(found)
    authors_and_replies(found)
    store.trim()
