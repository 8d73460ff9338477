"""Nearest neighbours on an accelerator: one product with every row, then the best of it.

Exact: the product's rounding is bounded as in `codes`, and the best K' > K rows are scored again,
one by one; when the bound does not tell the K-th from what was left behind, K' doubles. The best
are found in two steps: the best K' chunks by their best row hold the best K' rows, so that only
those are sorted. `approximate=True` takes JAX's `approx_max_k` instead, with its recall.

The device holds the rows from the start, so every search is one compiled program. Searches and
changes take turns at giving the device work; it runs them in that order.

N rows, Q queries, D width, K results, P excluded posts, A excluded authors' slots.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from phoenix.index.author_slots import AuthorSlots
from phoenix.index.codes import rounding
from phoenix.index.device_programs import CHUNK_ROWS, Columns, hide, search, write
from phoenix.index.exact import best_first
from phoenix.index.id_map import NOWHERE
from phoenix.index.rows import AUTHOR, POST, RowTable
from phoenix.index.search import (
    Ids,
    SearchRequest,
    SearchResult,
    VectorIndex,
    check_query,
    check_vectors,
)

_AT_ONCE = 4_096  # rows that one program writes: phoenix embeds as many at a time
_FILTERED_AT_LEAST = 1_024  # excluded ids are padded to this: fewer shapes, fewer compilations
_MARGIN = 16  # rows beyond K, so that the K-th can be told from the first one left behind
_PRODUCT_ERRORS = 4.0  # of `rounding`: products on devices add in trees of their own


class DeviceIndex(VectorIndex):
    """A `search.VectorIndex` on JAX's default device."""

    def __init__(
        self, dimension: int, *, rows_max: int, approximate: bool = False, recall: float = 0.99
    ) -> None:
        """Room for `rows_max` posts is taken at once; `recall` is what `approximate` aims at."""
        self._dimension, self._approximate, self._recall = dimension, approximate, recall
        rows = -(-(rows_max + _AT_ONCE) // CHUNK_ROWS) * CHUNK_ROWS
        self._table = RowTable(rows_max, self._forget, rows_max=rows)
        self._authors = AuthorSlots(rows)
        self._largest = 0.0  # norm of a row, ever
        self._giving = threading.Lock()
        self._columns = Columns(
            jnp.zeros((rows, dimension), jnp.float32),
            jnp.zeros(rows, jnp.bool_),
            jnp.zeros(rows, jnp.int32),
            jnp.zeros(rows, jnp.uint32),
            jnp.zeros(rows, jnp.int32),
        )

    def __len__(self) -> int:
        return len(self._table)

    @property
    def dimension(self) -> int:
        """D."""
        return self._dimension

    @property
    def memory_bytes(self) -> int:
        """Bytes on the device, for every row there may be, and of the table beside it."""
        return self._table.memory_bytes + sum(int(column.nbytes) for column in self._columns)

    def post_ids(self) -> set[int]:
        """The ids that a search without filters can answer."""
        with self._giving:
            return set(self._table.facts[self._table.visible_rows(), POST].tolist())

    def upsert(
        self,
        post_ids: Ids,
        author_ids: Ids,
        created_ms: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> None:
        """Adds posts, or replaces those already here. Vectors are [n, D]; the last of an id holds.

        Adds nothing and raises ValueError for a wrong shape or a vector that is not finite, and
        IndexFullError when more than `rows_max` posts would be held.
        """
        check_vectors(post_ids, vectors, self._dimension)
        last = len(post_ids) - 1 - np.unique(post_ids[::-1], return_index=True)[1]
        with self._giving:
            self._table.check_room(post_ids)
            for start in range(0, len(last), _AT_ONCE):
                part = last[start : start + _AT_ONCE]
                self._insert(post_ids[part], author_ids[part], created_ms[part], vectors[part])

    def remove(self, post_ids: Iterable[int]) -> int:
        """Forgets posts and frees their rows; returns how many were here."""
        gone = np.fromiter(post_ids, np.uint64)
        with self._giving:
            removed = self._table.remove(gone)
            self._table.reclaim()
        return removed

    def search_many(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Each request's answer, from one product with the rows."""
        for request in requests:
            check_query(request.query, self._dimension)
        if not requests:
            return []
        number = len(requests)
        requests = [*requests, *[requests[-1]] * (_bucket(number, 1) - number)]
        wanted = max(0, *(min(request.k, len(self)) for request in requests))
        taken = min(_bucket(wanted + _MARGIN), self._table.rows_max)
        while True:
            answers, proved = self._best(requests, taken)
            if proved or self._approximate or taken == self._table.rows_max:
                return answers[:number]
            taken = min(2 * taken, self._table.rows_max)

    def _best(
        self, requests: Sequence[SearchRequest], taken: int
    ) -> tuple[list[SearchResult], bool]:
        """Answers from the best `taken` rows of the product, and whether no other can be better."""
        recall = self._recall if self._approximate else None
        with self._giving:
            asked = self._asked(requests)
            rows, product, scores = (
                np.asarray(part)
                for part in search(self._columns, *asked, taken=taken, recall=recall)
            )
            found = self._table.facts[rows]  # while no row can be given to another post
        norms = np.linalg.norm(asked[0].astype(np.float64), axis=1)
        off = _PRODUCT_ERRORS * rounding(self._dimension) * self._largest * norms
        answers, proved = [], True
        for q, request in enumerate(requests):
            here = np.flatnonzero(product[q] > -np.inf)
            best = here[
                best_first(scores[q, here] + np.float32(0), found[q, here, POST], request.k)
            ]
            answers.append(
                SearchResult(found[q, best, POST], found[q, best, AUTHOR], scores[q, best])
            )
            if len(here) == taken and len(best):
                proved &= bool(product[q, -1] + off[q] < scores[q, best[-1]])
        return answers, proved

    def _asked(self, requests: Sequence[SearchRequest]) -> tuple[Any, ...]:
        """The requests as arrays of a few shapes, for each shape is compiled once."""
        queries = np.stack([request.query for request in requests]).astype(np.float32)
        filters = [request.filters for request in requests]
        created = np.array([one.created_from_ms for one in filters], np.int64)
        posts = [self._table.rows_of(np.asarray(one.excluded_post_ids)) for one in filters]
        authors = [self._authors.known(np.unique(one.excluded_author_ids)) for one in filters]
        outside = self._table.rows_max  # an index that no row has: JAX drops it
        return (
            queries,
            (created >> 32).astype(np.int32),
            (created & 0xFFFFFFFF).astype(np.uint32),
            _padded([rows[rows != NOWHERE] for rows in posts], outside),
            _padded(authors, outside),
        )

    def _insert(
        self, post_ids: Ids, author_ids: Ids, created_ms: NDArray[np.int64], vectors: Any
    ) -> None:
        """Writes at most `_AT_ONCE` posts, padded to a compiled number of them."""
        rows = self._table.place(post_ids)
        more = _bucket(len(rows)) - len(rows)
        at = np.concatenate([rows, np.full(more, self._table.rows_max)]).astype(np.int32)
        new = Columns(
            vectors.astype(np.float32),
            np.ones(len(rows), np.bool_),
            (created_ms >> 32).astype(np.int32),
            (created_ms & 0xFFFFFFFF).astype(np.uint32),
            self._authors.take(author_ids),
        )
        padded = [
            np.concatenate([part, np.zeros((more, *part.shape[1:]), part.dtype)]) for part in new
        ]
        self._columns = write(self._columns, at, Columns(*padded))
        self._largest = max(self._largest, float(np.linalg.norm(vectors, axis=1).max(initial=0)))
        self._table.publish(rows, post_ids, author_ids, created_ms)
        self._table.reclaim()

    def _forget(self, rows: NDArray[np.int64]) -> None:
        """Rows of posts that went are never answered again."""
        self._authors.leave(self._table.facts[rows, AUTHOR])
        for start in range(0, len(rows), _AT_ONCE):
            part = _padded([rows[start : start + _AT_ONCE]], self._table.rows_max)[0]
            self._columns = self._columns._replace(alive=hide(self._columns.alive, part))


def _bucket(n: int, least: int = 16) -> int:
    """The power of two that holds `n`, from `least` on."""
    return max(least, 1 << max(0, n - 1).bit_length())


def _padded(lists: Sequence[NDArray[Any]], outside: int) -> NDArray[np.int32]:
    """Lists of places [Q, n], filled up with a place outside."""
    length = _bucket(max(len(one) for one in lists), _FILTERED_AT_LEAST)
    padded = np.full((len(lists), length), outside, np.int32)
    for row, one in zip(padded, lists, strict=True):
        row[: len(one)] = one
    return padded
