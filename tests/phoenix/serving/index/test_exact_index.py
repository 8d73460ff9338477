"""The index must equal a plain numpy sort, whatever was inserted, removed and excluded before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.index.exact import ExactIndex, IndexFullError, SearchFilters

DIMENSION = 8
# Multiples of 1/4 of magnitude at most 1: every dot product is exact in float32 in any order of
# summation, and equal scores are common, so ties are really tested.
quarters = st.integers(-4, 4).map(lambda n: n / 4)
vectors = st.lists(quarters, min_size=DIMENSION, max_size=DIMENSION)
ids = st.integers(1, 40)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), ids, st.integers(1, 5), st.integers(0, 9), vectors),
        st.tuples(st.just("remove"), ids),
    ),
    max_size=60,
)


def reference_search(posts, query, k, filters):
    """Sorts every allowed post by (score, post_id), both descending."""
    excluded_posts = set(filters.excluded_post_ids.tolist())
    excluded_authors = set(filters.excluded_author_ids.tolist())
    allowed = [
        (float(np.dot(np.float32(vector), query)), post_id, author_id)
        for post_id, (author_id, created_ms, vector) in posts.items()
        if created_ms >= filters.created_from_ms
        and post_id not in excluded_posts
        and author_id not in excluded_authors
    ]
    return sorted(allowed, reverse=True)[:k]


def one(post_id, author_id, created_ms, vector):
    return (
        np.array([post_id], np.uint64),
        np.array([author_id], np.uint64),
        np.array([created_ms], np.int64),
        np.array([vector], np.float32),
    )


@settings(max_examples=150, deadline=None)
@given(
    operations,
    vectors,
    st.integers(0, 50),
    st.lists(ids, max_size=10),
    st.lists(st.integers(1, 5), max_size=2),
    st.integers(0, 9),
)
def test_answers_what_a_full_sort_of_the_allowed_posts_answers(
    steps, query, k, excluded_posts, excluded_authors, created_from_ms
):
    index = ExactIndex(DIMENSION, rows_max=40)
    posts = {}
    for step in steps:
        if step[0] == "upsert":
            _, post_id, author_id, created_ms, vector = step
            index.upsert(*one(post_id, author_id, created_ms, vector))
            posts[post_id] = (author_id, created_ms, vector)
        else:
            assert index.remove([step[1]]) == int(posts.pop(step[1], None) is not None)
    filters = SearchFilters(
        created_from_ms,
        np.array(excluded_posts, np.uint64),
        np.array(excluded_authors, np.uint64),
    )
    query_vector = np.array(query, np.float32)
    found = index.search(query_vector, k, filters)
    answered = list(
        zip(found.scores.tolist(), found.post_ids.tolist(), found.author_ids.tolist(), strict=True)
    )
    assert answered == reference_search(posts, query_vector, k, filters)
    assert len(index) == len(posts)


def test_a_score_does_not_depend_on_the_row_a_post_lies_in():
    rng = np.random.default_rng(1)
    wanted = rng.normal(size=64).astype(np.float32)
    query = rng.normal(size=64).astype(np.float32)
    scores = set()
    for before in (0, 1, 3, 700):
        index = ExactIndex(64, rows_max=2000)
        if before:
            index.upsert(
                np.arange(10, 10 + before, dtype=np.uint64),
                np.ones(before, np.uint64),
                np.zeros(before, np.int64),
                rng.normal(size=(before, 64)).astype(np.float32),
            )
        index.upsert(*one(5, 1, 0, wanted))
        found = index.search(query, before + 1)
        scores.add(float(found.scores[found.post_ids == 5][0]))
    assert len(scores) == 1


def test_grows_to_its_limit_and_reuses_the_rows_of_removed_posts():
    index = ExactIndex(4, rows_max=3000)
    every = np.arange(1, 3001, dtype=np.uint64)
    index.upsert(every, every, np.zeros(3000, np.int64), np.ones((3000, 4), np.float32))
    grown = index.memory_bytes
    with pytest.raises(IndexFullError, match="index_posts_max"):
        index.upsert(*one(9999, 1, 0, [1, 0, 0, 0]))
    assert index.remove([7, 8]) == 2
    index.upsert(*one(9999, 1, 0, [2, 0, 0, 0]))
    assert index.memory_bytes == grown
    assert index.search(np.float32([1, 0, 0, 0]), 1).post_ids.tolist() == [9999]
    assert 7 not in index.search(np.float32([1, 0, 0, 0]), 3000).post_ids.tolist()


def test_a_vector_that_is_not_finite_is_refused_by_post_and_adds_nothing():
    index = ExactIndex(2, rows_max=10)
    with pytest.raises(ValueError, match="post 2 is not finite"):
        index.upsert(
            np.array([1, 2], np.uint64),
            np.array([1, 1], np.uint64),
            np.zeros(2, np.int64),
            np.array([[1, 0], [np.nan, 0]], np.float32),
        )
    assert len(index) == 0
    with pytest.raises(ValueError, match="not finite"):
        index.search(np.array([np.inf, 0], np.float32), 1)
    with pytest.raises(ValueError, match=r"expected \(2,\)"):
        index.search(np.zeros(3, np.float32), 1)
