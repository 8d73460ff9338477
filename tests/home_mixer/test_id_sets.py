"""Id membership is exact, at both ends of 64 bits, and 0 is nobody."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from home_mixer.id_sets import IdRows, contains, contains_any, distinct, first_rows, union
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
    lists = [sorted_ids(array(first)), sorted_ids(array(second))]
    twice = contains_any(lists, [array(values), array(values[::-1])])
    pairs = zip(values, values[::-1], strict=True)
    assert twice.tolist() == [bool({a, b} & held) for a, b in pairs]


MULTIPLIER = 0x9E3779B97F4A7C15  # of the first table
INVERSE = pow(MULTIPLIER, -1, 2**64)


def many(rng: np.random.Generator, kind: str) -> np.ndarray:
    """[3,000] ids with repeats; "crowded": all of one place of the first table."""
    if kind == "crowded":
        products = rng.integers(0, 1_000, 3_000)
        return array([int(one) * INVERSE % 2**64 for one in products])
    return rng.integers(0, 2_000, 3_000).astype(np.uint64) << np.uint64(22)


@pytest.mark.parametrize("kind", ["spread", "crowded"])
def test_tables_of_places_equal_python_dictionaries(kind):
    """Ids that a client chose to share one place must be answered as exactly as any others."""
    values = many(np.random.default_rng(1), kind)
    plain = values.tolist()
    first = {one: plain.index(one) for one in set(plain)}
    assert first_rows(values).tolist() == [first[one] for one in plain]
    ids, rows = distinct(values)
    assert ids[rows].tolist() == plain
    assert ids.tolist() == list(dict.fromkeys(plain))
    known = np.unique(values)[::2]
    found, at = IdRows(known).find(values)
    assert found.tolist() == [one in set(known.tolist()) for one in plain]
    assert known[at[found]].tolist() == values[found].tolist()
    held = set(known.tolist()) - {0}
    assert contains(known, values).tolist() == [one in held for one in plain]
    halves = [known[::2], known[1::2]]
    assert contains_any(halves, [values]).tolist() == [one in held for one in plain]


def test_nothing_known_holds_nothing():
    found, _ = IdRows(array([])).find(array([0, 1]))
    assert found.tolist() == [False, False]
    assert first_rows(array([])).tolist() == []
