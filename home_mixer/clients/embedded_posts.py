"""Posts on LMDB: one value a post holds content, deletion status and labels.

So core data is one lookup a candidate, a delete that overtakes its create has a place to wait,
and old posts, whose ids are the smallest keys, are trimmed from the front.
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
from home_mixer.clients.protocols import Ids, Mask, PostBatch, VisibilityBatch
from home_mixer.clients.reader_threads import ReaderThreads
from home_mixer.clients.writes import FeatureBatch, PostState

POSTS = "posts"


class EmbeddedPostStore:
    """`PostStore` and `VisibilityLabelStore` on LMDB."""

    def __init__(self, directory: LmdbDirectory, threads: ReaderThreads) -> None:
        self._directory = directory
        self._threads = threads

    async def get_posts(self, post_ids: Ids) -> PostBatch:
        """Rows [B]."""
        return await self._threads.run(self._read_posts, post_ids)

    async def get_visibility(self, post_ids: Ids) -> VisibilityBatch:
        """Rows [B]."""
        return await self._threads.run(self._read_visibility, post_ids)

    def _read_posts(self, post_ids: Ids) -> PostBatch:
        unique, inverse = np.unique(post_ids, return_inverse=True)
        with self._directory.read() as txn:
            pairs = txn.get_many(POSTS, id_keys(unique))
            at = _found_at(unique, pairs)
            values = [value for _, value in pairs]
            headers = np.zeros(unique.shape[0], POST_HEADER)
            headers[at] = headers_of(values)
            texts = empty_texts(unique.shape[0])
            texts[at] = texts_of(values)
        return post_batch(headers.take(inverse), texts.take(inverse))

    def _read_visibility(self, post_ids: Ids) -> VisibilityBatch:
        unique, inverse = np.unique(post_ids, return_inverse=True)
        with self._directory.read() as txn:
            pairs = txn.get_many(POSTS, id_keys(unique))
            headers = np.zeros(unique.shape[0], POST_HEADER)
            headers[_found_at(unique, pairs)] = headers_of([value for _, value in pairs])
        return visibility_batch(headers.take(inverse))


def _found_at(unique: Ids, pairs: list[tuple[memoryview, memoryview]]) -> NDArray[np.intp] | Mask:
    if len(pairs) == unique.shape[0]:
        return np.ones(unique.shape[0], np.bool_)
    return np.searchsorted(unique, ids_of([key for key, _ in pairs]))


def write_posts(txn: Transaction, batch: FeatureBatch) -> None:
    """Merge the batch's post rows into the store."""
    states: dict[int, PostState] = {}
    for post_id in batch.post_ids():
        value = txn.get(POSTS, id_key(post_id))
        states[post_id] = decode_post(value) if value is not None else PostState()
    batch.changed_posts(states)
    for post_id in sorted(states):
        txn.put(POSTS, id_key(post_id), encode_post(states[post_id]))


def trim_posts(txn: Transaction, first_post_id: int, rows_max: int) -> int:
    """Delete posts with smaller ids, oldest first."""
    cursor = txn.cursor(POSTS)
    gone = 0
    bound = id_key(first_post_id)
    alive = cursor.first()
    while alive and gone < rows_max and cursor.key() < bound:
        alive = cursor.delete()
        gone += 1
    return gone
