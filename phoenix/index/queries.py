"""Requests as the scan's kernels read them: integers, bounds, and tables of excluded ids.

Q queries, G groups of 4 dimensions, D width, K results.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix.index.codes import QueryCodes, encode_query
from phoenix.index.id_map import fill_set, table_length
from phoenix.index.search import Ids, SearchRequest, Vector

Float = NDArray[np.float32]
Ints = NDArray[np.int64]


class Queries(NamedTuple):
    """What is searched; excluded ids lie in tables of `id_map.fill_set`, one behind another."""

    vectors: Float  # [Q, D]
    high: NDArray[np.int8]  # [Q, 4 G]
    low: NDArray[np.int8]  # [Q, 4 G]
    starts: NDArray[np.int32]  # [Q, 2]
    factors: Float  # [Q, 3]: unit, slack, norm of `codes.QueryCodes`
    wanted: Ints  # [Q]: K
    created_from: Ints  # [Q]
    posts: Ids
    post_ends: Ints  # [Q + 1]
    authors: Ids
    author_ends: Ints  # [Q + 1]
    snapshot: np.uint64


def queries_of(asked: Sequence[SearchRequest], codes: bool, snapshot: int) -> Queries:
    """The requests as the kernels read them."""
    vectors = np.stack([request.query for request in asked]).astype(np.float32, order="C")
    planes = [encode_query(vector) if codes else _as_it_is(vector) for vector in vectors]
    filters = [request.filters for request in asked]
    posts, post_ends = _tables([one.excluded_post_ids for one in filters])
    authors, author_ends = _tables([one.excluded_author_ids for one in filters])
    return Queries(
        vectors,
        np.stack([plane.high for plane in planes]),
        np.stack([plane.low for plane in planes]),
        np.array([(plane.start_high, plane.start_low) for plane in planes], np.int32),
        np.array([(plane.unit, plane.slack, plane.norm) for plane in planes], np.float32),
        np.array([request.k for request in asked], np.int64),
        np.array([one.created_from_ms for one in filters], np.int64),
        posts,
        post_ends,
        authors,
        author_ends,
        np.uint64(snapshot),
    )


def _as_it_is(vector: Vector) -> QueryCodes:
    """A query for a scan of float32 rows: the bound is of rounding alone."""
    none = np.empty(0, np.int8)
    return QueryCodes(none, none, 0, 0, 1.0, 0.0, float(np.linalg.norm(vector)) * (1 + 1e-5))


def _tables(lists: Sequence[Ids]) -> tuple[Ids, NDArray[np.int64]]:
    """Sets of ids, one behind another, and where each ends; an empty one takes no room."""
    lengths = [table_length(len(ids)) if len(ids) else 0 for ids in lists]
    ends = np.cumsum([0, *lengths])
    tables = np.zeros(ends[-1], np.uint64)
    for start, end, ids in zip(ends, ends[1:], lists, strict=False):
        if end > start:
            fill_set(tables[start:end], np.ascontiguousarray(ids, np.uint64))
    return tables, ends
