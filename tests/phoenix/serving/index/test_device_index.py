"""What only the index on an accelerator does: fixed shapes, authors by number, a near-best top."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.index.author_slots import AuthorSlots
from phoenix.index.device import DeviceIndex
from phoenix.index.device_programs import CHUNK_ROWS, two_step_top_k
from phoenix.index.search import IndexFullError, SearchFilters


def filled(posts, dimension=16, **options):
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(posts, dimension)).astype(np.float32)
    ids = np.arange(1, posts + 1, dtype=np.uint64)
    index = DeviceIndex(dimension, rows_max=posts, **options)
    index.upsert(ids, ids % 50, ids.astype(np.int64) << 33, vectors)
    return index, vectors


def test_the_best_of_the_best_chunks_are_the_best_of_all():
    scores = np.random.default_rng(1).normal(size=(3, 200 * CHUNK_ROWS)).astype(np.float32)
    scores[1, 5 * CHUNK_ROWS : 6 * CHUNK_ROWS] += 10  # all in one chunk
    best, rows = two_step_top_k(scores, 60)
    expected = -np.sort(-scores, axis=1)[:, :60]
    np.testing.assert_array_equal(best, expected)
    np.testing.assert_array_equal(np.take_along_axis(scores, np.asarray(rows), 1), expected)


def test_times_beyond_32_bits_and_thousands_of_authors_are_filtered_exactly():
    index, vectors = filled(9_000)  # more than one program writes at once
    ids = np.arange(1, 9_001)
    allowed = (ids >= 4_000) & (ids % 50 != 3) & (ids % 50 != 7)
    filters = SearchFilters(4_000 << 33, ids[:0].astype(np.uint64), np.array([3, 7, 99], np.uint64))
    found = index.search(vectors[0], 9_000, filters)
    assert sorted(found.post_ids.tolist()) == ids[allowed].tolist()


def test_the_approximate_top_misses_few_of_the_best():
    exact, vectors = filled(5_000)
    index, _ = filled(5_000, approximate=True, recall=0.95)
    best = exact.search(vectors[1], 100).post_ids
    assert np.isin(index.search(vectors[1], 100).post_ids, best).mean() >= 0.8


def test_a_batch_beyond_the_limit_changes_nothing():
    index, vectors = filled(100)
    ids = np.array([100, 101], np.uint64)
    with pytest.raises(IndexFullError, match="limit of 100 posts"):
        index.upsert(ids, ids, np.zeros(2, np.int64), vectors[:2])
    assert index.post_ids() == set(range(1, 101))


@settings(max_examples=100)
@given(st.lists(st.integers(-9, 9).filter(bool), max_size=60))
def test_an_author_keeps_its_slot_from_the_first_post_to_the_last(steps):
    """Two authors with one slot would be blocked together."""
    slots, posts, slot_of = AuthorSlots(9), {}, {}
    for step in steps:
        author = abs(step)
        if step > 0:
            slot = int(slots.take(np.array([author], np.uint64))[0])
            assert slot_of.setdefault(author, slot) == slot
            posts[author] = posts.get(author, 0) + 1
        elif posts.get(author):
            slots.leave(np.array([author], np.uint64))
            posts[author] -= 1
            if not posts[author]:
                del slot_of[author]
        assert len(set(slot_of.values())) == len(slot_of)
    everybody = np.arange(1, 10, dtype=np.uint64)
    assert sorted(slots.known(everybody).tolist()) == sorted(slot_of.values())
