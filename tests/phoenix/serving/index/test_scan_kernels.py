"""The index's kernels must equal plain Python: one that errs loses posts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix.index import id_map
from phoenix.index.codes import encode_query, encode_rows, n_groups
from phoenix.index.dots import BLOCK_ROWS, GROUP, plain_dots
from phoenix.index.memory import reserve
from phoenix.index.rows import BORN, GONE, POST, RowTable
from phoenix.index.scan import kth_largest, run_dots
from phoenix.index.search import IndexFullError


def encoded(vectors):
    """One block of codes with its scales and errors."""
    dimension = vectors.shape[1]
    codes = reserve((1, BLOCK_ROWS * GROUP * n_groups(dimension)), np.uint8)
    scales, errors = np.zeros(BLOCK_ROWS, np.float32), np.zeros(BLOCK_ROWS, np.float32)
    encode_rows(vectors, np.arange(len(vectors)), codes, scales, errors)
    return codes, scales, errors


def planes_of(query):
    of = encode_query(query)
    starts = np.array([[of.start_high, of.start_low]], np.int32)
    return of, (of.high[None], of.low[None], starts)


@pytest.mark.parametrize("dimension", [1, 4, 6, 33, 128])
def test_dot_products_of_codes_are_those_of_the_integers_that_they_stand_for(dimension):
    rng = np.random.default_rng(dimension)
    vectors = rng.normal(size=(BLOCK_ROWS, dimension)).astype(np.float32)
    codes, scales, _ = encoded(vectors)
    of, planes = planes_of(rng.normal(size=dimension).astype(np.float32))
    whole = 256 * of.high[:dimension].astype(np.int64) + of.low[:dimension]
    rows = np.rint(vectors / scales[:, None]).astype(np.int64)
    expected = rows @ whole
    for dots in [plain_dots, run_dots]:
        out = np.zeros(BLOCK_ROWS, np.float32)
        dots(codes, 0, *planes, 0, out)
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=2.0)


@settings(max_examples=200)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 3, 32, 100]),
    st.sampled_from([1e-12, 1e-3, 1.0, 1e6]),
    st.booleans(),
)
def test_a_score_lies_within_its_bound(seed, dimension, size, sparse):
    """Else a post among the best could be dropped unseen."""
    rng = np.random.default_rng(seed)
    vectors = (size * rng.normal(size=(BLOCK_ROWS, dimension))).astype(np.float32)
    if sparse:
        vectors[rng.random(vectors.shape) < 0.7] = 0
    vectors[0] = 0
    query = rng.normal(size=dimension).astype(np.float32)
    codes, scales, errors = encoded(vectors)
    of, planes = planes_of(query)
    out = np.zeros(BLOCK_ROWS, np.float32)
    plain_dots(codes, 0, *planes, 0, out)
    middle = scales * (np.float32(of.unit) * out)
    width = scales * np.float32(of.slack) + errors * np.float32(of.norm) + np.float32(1e-30)
    exact = vectors.astype(np.float64) @ query.astype(np.float64)
    assert (np.abs(exact - middle) <= width).all()
    assert (np.abs(vectors @ query - middle) <= width).all()


@settings(max_examples=200)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=80), st.data())
def test_the_kth_largest_is_that_of_a_sort(values, data):
    k = data.draw(st.integers(1, len(values)))
    assert kth_largest(np.array(values, np.float32), k) == sorted(values, reverse=True)[k - 1]


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=120))
def test_the_map_from_id_to_row_is_a_dict(steps):
    """Ids a multiple of 2^32 apart share a place, so that entries push one another on."""
    keys, slots = np.zeros(64, np.uint64), np.zeros(64, np.int32)
    expected = {}
    for row, (put, number) in enumerate(steps):
        id_ = np.uint64(number << 58 | number % 3)
        if put and (int(id_) in expected or len(expected) < 32):
            id_map.put(keys, slots, id_, row)
            expected[int(id_)] = row
        elif not put:
            id_map.take_out(keys, slots, id_)
            expected.pop(int(id_), None)
    for number in range(41):
        id_ = number << 58 | number % 3
        row = id_map.row_of(keys, slots, np.uint64(id_))
        assert row == expected.get(id_, id_map.NOWHERE)


@settings(max_examples=100)
@given(st.sets(st.integers(0, 2**63), max_size=40), st.lists(st.integers(0, 2**63), max_size=9))
def test_a_set_of_excluded_ids_holds_them_and_no_others(ids, others):
    """Zero, too: an id that an empty place must not be taken for."""
    table = np.zeros(id_map.table_length(max(1, len(ids))), np.uint64)
    id_map.fill_set(table, np.array(sorted(ids), np.uint64))
    for id_ in [*ids, *others, 0]:
        assert id_map.in_set(table, np.uint64(id_)) == (id_ in ids)


def published(table, ids):
    ids = np.array(ids, np.uint64)
    rows = table.place(ids)
    table.publish(rows, ids, ids, np.zeros(len(ids), np.int64))
    return rows


def test_a_row_is_given_to_another_post_only_when_no_search_sees_it_any_more():
    freed = []
    table = RowTable(4, lambda rows: freed.extend(rows.tolist()))
    first = published(table, [10, 11])
    with table.snapshot() as (snapshot, size):
        assert table.remove(np.array([10], np.uint64)) == 1
        other = published(table, [12])
        assert other[0] not in first
        facts = table.facts[:size]
        seen = (facts[:, BORN] <= snapshot) & (facts[:, GONE] > snapshot)
        assert facts[seen, POST].tolist() == [10, 11]  # as when the search began
        assert freed == []
    assert published(table, [13])[0] == first[0]
    assert freed == [first[0]]
    assert len(table) == 3


def test_a_batch_beyond_the_limit_changes_nothing():
    table = RowTable(3, lambda rows: None)
    published(table, [1, 2])
    with pytest.raises(IndexFullError, match="limit of 3 posts"):
        table.place(np.array([2, 3, 4], np.uint64))
    assert len(table) == 2
    published(table, [2, 3])
    assert sorted(table.facts[table.visible_rows(), POST].tolist()) == [1, 2, 3]


def test_reserved_memory_is_zero_and_writable_whatever_its_length():
    for shape in [(0,), (0, 8), (3, 5), (70_000, 64)]:
        array = reserve(shape, np.float32)
        assert array.shape == shape
        assert not array.any()
        array[...] = 1
