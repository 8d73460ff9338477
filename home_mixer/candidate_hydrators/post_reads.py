"""One read of the post store for the components that need the same record.

CoreData, VideoDuration and Subscription read different fields of one stored post. They run
together; the first to ask starts the read, the others wait for the same answer. The next
wave and the next request ask anew; what was read before is used in an outage alone.
"""

from __future__ import annotations

import asyncio

import numpy as np

from home_mixer.clients.protocols import Ids, PostBatch, PostStore
from home_mixer.last_known import LastKnownPosts
from home_mixer.query import ScoredPostsQuery


class SharedPostReads:
    """Joins the reads of one request that ask for the same ids while one is under way."""

    def __init__(self, store: PostStore) -> None:
        self._store = LastKnownPosts(store)
        self._running: dict[str, tuple[Ids, asyncio.Task[PostBatch]]] = {}

    async def get_posts(self, query: ScoredPostsQuery, post_ids: Ids) -> PostBatch:
        """Rows [B]; raises what the store raises, to every component that waits."""
        running = self._running.get(query.request_id)
        if running is None or not _are_same(running[0], post_ids):
            task = asyncio.ensure_future(self._store.get_posts(post_ids))
            running = post_ids, task
            self._running[query.request_id] = running
            task.add_done_callback(lambda done: self._forget(query.request_id, done))
        # shielded: one component's budget must not end the others' read
        return await asyncio.shield(running[1])

    def last_known(self, post_ids: Ids) -> PostBatch:
        """What was read of them before; ``found`` false where nothing is kept."""
        return self._store.last_known(post_ids)

    def _forget(self, request_id: str, done: asyncio.Future[PostBatch]) -> None:
        running = self._running.get(request_id)
        if running is not None and running[1] is done:
            del self._running[request_id]
        if not done.cancelled():
            done.exception()  # retrieved here too: every waiter may have run out of time


def _are_same(first: Ids, second: Ids) -> bool:
    return first is second or np.array_equal(first, second)
