"""Posts on LMDB: one value a post holds content, deletion status and labels.

So core data is one lookup a candidate, a delete that overtakes its create has a place to wait,
and old posts, whose ids are the smallest keys, are trimmed from the front. Posts that were read
before and have not changed since are not read again (`remembered_posts`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from home_mixer.clients.columns import (
    POST_HEADER,
    decode_post,
    empty_texts,
    encode_post,
    headers_of,
    post_batch,
    texts_of,
    visibility_batch,
)
from home_mixer.clients.keys import id_key, id_keys, ids_of
from home_mixer.clients.lmdb_directory import LmdbDirectory, Transaction
from home_mixer.clients.protocols import Ids, Mask, Objects, PostBatch, VisibilityBatch
from home_mixer.clients.reader_threads import ReaderThreads
from home_mixer.clients.remembered_posts import RememberedPosts
from home_mixer.clients.writes import FeatureBatch, PostState

POSTS = "posts"


class EmbeddedPostStore:
    """`PostStore` and `VisibilityLabelStore` on LMDB."""

    def __init__(self, directory: LmdbDirectory, threads: ReaderThreads) -> None:
        self._directory = directory
        self._threads = threads
        self._remembered = RememberedPosts()

    async def get_posts(self, post_ids: Ids) -> PostBatch:
        """Rows [B]."""
        return await self._threads.run(self._read_posts, post_ids)

    async def get_visibility(self, post_ids: Ids) -> VisibilityBatch:
        """Rows [B]."""
        return await self._threads.run(self._read_visibility, post_ids)

    def _read_posts(self, post_ids: Ids) -> PostBatch:
        return post_batch(*self._read(post_ids))

    def _read_visibility(self, post_ids: Ids) -> VisibilityBatch:
        return visibility_batch(self._read(post_ids)[0])

    def _read(self, post_ids: Ids) -> tuple[NDArray[np.void], Objects]:
        """Headers and texts [B]; zeros and "" of posts that are not stored."""
        with self._directory.read() as txn:
            held, headers, texts = self._remembered.recall(txn, post_ids)
            missing = (~held).nonzero()[0]
            if len(missing):
                unique, inverse = np.unique(post_ids.take(missing), return_inverse=True)
                pairs = txn.get_many(POSTS, id_keys(unique))
                found = _found_at(unique, pairs)
                values = [value for _, value in pairs]
                new_headers = np.zeros(len(unique), POST_HEADER)
                new_headers[found] = headers_of(values)
                new_texts = empty_texts(len(unique))
                new_texts[found] = texts_of(values)
                headers[missing], texts[missing] = new_headers[inverse], new_texts[inverse]
                self._remembered.remember(txn, unique[found], new_headers[found], new_texts[found])
        return headers, texts


def _found_at(unique: Ids, pairs: list[tuple[memoryview, memoryview]]) -> NDArray[np.intp] | Mask:
    if len(pairs) == unique.shape[0]:
        return np.ones(unique.shape[0], np.bool_)
    return np.searchsorted(unique, ids_of([key for key, _ in pairs]))


def write_posts(txn: Transaction, batch: FeatureBatch) -> list[int]:
    """Merge the batch's post rows into the store; ids of those that were there before."""
    states: dict[int, PostState] = {}
    known: list[int] = []
    for post_id in batch.post_ids():
        value = txn.get(POSTS, id_key(post_id))
        states[post_id] = decode_post(value) if value is not None else PostState()
        if value is not None:
            known.append(post_id)
    batch.changed_posts(states)
    for post_id in sorted(states):
        txn.put(POSTS, id_key(post_id), encode_post(states[post_id]))
    return known


def trim_posts(txn: Transaction, first_post_id: int, rows_max: int) -> list[int]:
    """Delete posts with smaller ids, oldest first; the ids of those."""
    cursor = txn.cursor(POSTS)
    gone: list[bytes] = []
    bound = id_key(first_post_id)
    alive = cursor.first()
    while alive and len(gone) < rows_max and cursor.key() < bound:
        gone.append(cursor.key())
        alive = cursor.delete()
    ids: list[int] = ids_of(gone).tolist()
    return ids
