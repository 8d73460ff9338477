"""Id membership is exact, at both ends of 64 bits, and 0 is nobody."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from home_mixer.id_sets import contains, contains_any, union
from home_mixer.query import sorted_ids

ids = st.lists(st.one_of(st.integers(0, 9), st.integers(2**64 - 3, 2**64 - 1)), max_size=12)


def array(values):
    return np.array(values, np.uint64)


@given(ids, ids, ids)
def test_equals_python_sets(first, second, values):
    held = (set(first) | set(second)) - {0}
    merged = union(sorted_ids(array(first)), sorted_ids(array(second)))
    assert merged.tolist() == sorted(held)
    assert contains(merged, array(values)).tolist() == [v in held for v in values]
    twice = contains_any(sorted_ids(array(first)), [array(values), array(values[::-1])])
    own = set(first) - {0}
    assert twice.tolist() == [bool({a, b} & own) for a, b in zip(values, values[::-1], strict=True)]
