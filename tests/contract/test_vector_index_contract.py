"""Every index must equal a plain numpy sort, whatever was inserted, removed and excluded before."""

import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.index.device import DeviceIndex
from phoenix.index.exact import ExactIndex
from phoenix.index.search import IndexFullError, SearchFilters, SearchRequest

INDEXES = {
    "int8 codes": partial(ExactIndex, threads=2),
    "float32 rows": partial(ExactIndex, codes=False, threads=2),
    "device": DeviceIndex,
}
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


@pytest.fixture(scope="module", params=INDEXES)
def new_index(request):
    """Makes an empty index of one kind: `new_index(dimension, rows_max=...)`."""
    return INDEXES[request.param]


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


@settings(max_examples=150)
@given(
    operations,
    vectors,
    st.integers(0, 50),
    st.lists(ids, max_size=10),
    st.lists(st.integers(1, 5), max_size=2),
    st.integers(0, 9),
)
def test_answers_what_a_full_sort_of_the_allowed_posts_answers(
    new_index, steps, query, k, excluded_posts, excluded_authors, created_from_ms
):
    index = new_index(DIMENSION, rows_max=40)
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


def test_a_score_does_not_depend_on_the_row_a_post_lies_in(new_index):
    rng = np.random.default_rng(1)
    wanted = rng.normal(size=64).astype(np.float32)
    query = rng.normal(size=64).astype(np.float32)
    scores = set()
    for before in (0, 1, 3, 700):
        index = new_index(64, rows_max=2000)
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


def test_grows_to_its_limit_and_reuses_the_rows_of_removed_posts(new_index):
    index = new_index(4, rows_max=3000)
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


def test_a_vector_that_is_not_finite_is_refused_by_post_and_adds_nothing(new_index):
    index = new_index(2, rows_max=10)
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
    with pytest.raises(ValueError, match="post 7 holds a value beyond 1e"):
        index.upsert(*one(7, 1, 0, [1e20, 0]))
    with pytest.raises(ValueError, match="beyond 1e"):
        index.search(np.array([1e20, 0], np.float32), 1)


def posts_of(first, n, dimension, rng, author=1):
    made = rng.normal(size=(n, dimension)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    ids = np.arange(first, first + n, dtype=np.uint64)
    return ids, np.full(n, author, np.uint64), np.zeros(n, np.int64), made


def test_thousands_of_unit_vectors_are_ranked_as_a_full_sort_ranks_them(new_index):
    """Scores that rounding separates, over more rows than one look at the survivors takes."""
    rng = np.random.default_rng(5)
    index = new_index(33, rows_max=6000)  # a width that no register divides
    ids, authors, created, made = posts_of(1, 6000, 33, rng)
    for start in range(0, 6000, 1000):
        part = slice(start, start + 1000)
        index.upsert(ids[part], authors[part], created[part], made[part])
    seen = rng.choice(ids, 2500, replace=False)
    kept = ~np.isin(ids, seen)
    for query in rng.normal(size=(5, 33)).astype(np.float32):
        found = index.search(query, 300, SearchFilters(0, seen))
        scores = made.astype(np.float64) @ query
        best = np.sort(scores[kept])[::-1][:300]
        assert not np.isin(found.post_ids, seen).any()
        assert len(set(found.post_ids.tolist())) == 300
        # what is scored alike but for rounding may change places
        of_found = scores[found.post_ids.astype(np.int64) - 1]
        np.testing.assert_allclose(of_found, best, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.scores, of_found, rtol=1e-5, atol=1e-5)


def test_posts_that_are_all_alike_are_answered_newest_id_first(new_index):
    """Every row ties with the last place, so none may be dropped by its bound."""
    index = new_index(16, rows_max=5000)
    ids, authors, created, made = posts_of(1, 5000, 16, np.random.default_rng(2))
    index.upsert(ids, authors, created, np.repeat(made[:1], 5000, axis=0))
    for query in (made[0], np.zeros(16, np.float32), -made[0]):
        assert index.search(query, 7).post_ids.tolist() == list(range(5000, 4993, -1))


def test_requests_that_share_a_pass_get_what_each_would_get_alone(new_index):
    rng = np.random.default_rng(3)
    index = new_index(24, rows_max=4000)
    ids, _, created, made = posts_of(1, 4000, 24, rng)
    index.upsert(ids, ids % 7, created + np.arange(4000), made)
    requests = [
        SearchRequest(query, k, SearchFilters(after, ids[:seen], np.array(banned, np.uint64)))
        for query, k, after, seen, banned in zip(
            rng.normal(size=(5, 24)).astype(np.float32),
            (10, 0, 5000, 600, 1),
            (0, 0, 100, 3900, 4001),
            (0, 3, 2000, 0, 0),
            ([], [1], [2, 3], [0], []),
            strict=True,
        )
    ]
    for together, request in zip(index.search_many(requests), requests, strict=True):
        alone = index.search(request.query, request.k, request.filters)
        np.testing.assert_array_equal(together.post_ids, alone.post_ids)
        np.testing.assert_array_equal(together.author_ids, alone.author_ids)
        np.testing.assert_array_equal(together.scores, alone.scores)
    assert index.search_many([]) == []


def test_a_vector_given_anew_replaces_the_old_one_and_the_last_of_a_batch_holds(new_index):
    index = new_index(2, rows_max=4)
    index.upsert(*one(1, 1, 0, [1, 0]))
    index.upsert(
        np.array([1, 2, 1], np.uint64),
        np.array([5, 6, 7], np.uint64),
        np.zeros(3, np.int64),
        np.array([[0, 1], [0.5, 0], [0.25, 0]], np.float32),
    )
    found = index.search(np.float32([1, 0]), 4)
    assert found.post_ids.tolist() == [2, 1]
    assert found.author_ids.tolist() == [6, 7]
    assert found.scores.tolist() == [0.5, 0.25]
    assert index.post_ids() == {1, 2}


def test_a_search_among_changes_sees_whole_batches_and_never_a_removed_post(new_index):
    """A reader that saw half of a batch, or a row given to another post, would answer nonsense.

    The writer keeps 200 posts of one batch in the index, one batch after another; a post's id tells
    its batch. Each batch is added before its forerunner goes, so a search sees one or two of them.
    """
    rng = np.random.default_rng(4)
    index, n, batches = new_index(16, rows_max=800), 200, 60
    made = posts_of(1, n, 16, rng)
    index.upsert(*made)
    removed_until = [0]  # batches whose removal has returned
    problems = []
    done = threading.Event()

    def search():
        while not done.is_set():
            gone = removed_until[0]
            found = index.search(made[3][0], 2 * n)
            seen = np.unique((found.post_ids - np.uint64(1)) // np.uint64(n), return_counts=True)
            whole = (seen[1] == n).all() and len(seen[0]) in (1, 2)
            best = made[3] @ made[3][0]
            right = np.allclose(
                found.scores, best[(found.post_ids.astype(np.int64) - 1) % n], atol=1e-5
            )
            if not (whole and right and seen[0][0] >= gone):
                problems.append((seen, gone, right))
                return

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for batch in range(1, batches):
            index.upsert(made[0] + np.uint64(batch * n), *made[1:])
            index.remove(range((batch - 1) * n + 1, batch * n + 1))
            removed_until[0] = batch
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert problems == []
    assert len(index) == n
