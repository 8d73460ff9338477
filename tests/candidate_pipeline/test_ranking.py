"""The order of a feed: the same on every run, and no NaN in front."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from candidate_pipeline import rank_descending

KEYS = st.one_of(st.sampled_from([0.0, 1.0, -1.0, float("nan"), float("inf"), -float("inf")]))


@given(st.lists(st.tuples(KEYS | st.floats(), st.integers(0, 2**63 - 1)), max_size=30))
def test_it_equals_sorting_objects_by_key_then_larger_id(rows: list[tuple[float, int]]) -> None:
    keys = np.array([key for key, _ in rows], np.float64)
    ids = np.array([one for _, one in rows], np.uint64)

    def place(row: int) -> tuple[bool, float, int, int]:
        key = rows[row][0]
        return (key != key, -key if key == key else 0.0, -rows[row][1], row)

    assert rank_descending(keys, ids).tolist() == sorted(range(len(rows)), key=place)


def test_nan_is_behind_minus_infinity() -> None:
    assert rank_descending(np.array([np.nan, -np.inf, 1.0]), np.arange(3)).tolist() == [2, 1, 0]


def test_float32_keys_and_ids_at_the_ends_of_int64() -> None:
    ids = np.array([-(2**63), 2**63 - 1, 0])
    assert rank_descending(np.ones(3, np.float32), ids).tolist() == [1, 2, 0]
