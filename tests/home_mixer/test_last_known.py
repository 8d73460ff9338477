"""What is remembered for an outage is exact, bounded, and never somebody else's row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from home_mixer.last_known import LastKnown, is_fresh

KEYS = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 40))


def pairs(keys: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    first, second = zip(*keys, strict=True)
    return np.array(first, np.uint64), np.array(second, np.uint64)


@given(st.lists(st.tuples(KEYS, st.integers(0, 1000), st.integers(0, 99)), min_size=1))
def test_what_is_recalled_is_what_was_last_said_of_that_key(
    writes: list[tuple[tuple[int, int], int, int]],
) -> None:
    """A row of another key would show a blocked author; a row that is gone only hides one."""
    rows, said = LastKnown(8, {"value": np.int64}), {}
    for key, value, at_ms in writes:
        rows.remember(*pairs([key]), {"value": np.array([value])}, at_ms)
        said[key] = value, at_ms
    read_at_ms, columns = rows.recall(*pairs(list(said)))
    for row, (value, at_ms) in enumerate(said.values()):
        if read_at_ms[row] >= 0:
            assert (columns["value"][row], read_at_ms[row]) == (value, at_ms)
    newest = [writes[-1][0]]
    assert rows.recall(*pairs(newest))[0][0] == writes[-1][2]


@given(st.lists(KEYS, min_size=1, max_size=64))
def test_keys_of_one_place_in_one_batch_do_not_mix(keys: list[tuple[int, int]]) -> None:
    rows = LastKnown(4, {"value": np.uint64})
    first, second = pairs(keys)
    rows.remember(first, second, {"value": first ^ second}, 5)
    read_at_ms, columns = rows.recall(first, second)
    held = read_at_ms >= 0
    assert held.any()
    assert (columns["value"][held] == (first ^ second)[held]).all()


def test_most_keys_are_held_while_there_is_room() -> None:
    """A bad spread of places would lose feeds in every outage."""
    rows = LastKnown(1 << 14, {})
    posts = (np.arange(2_000, dtype=np.uint64) << np.uint64(22)) + np.uint64(1 << 60)  # snowflakes
    rows.remember(posts, posts, {}, 1)
    assert (rows.recall(posts, posts)[0] >= 0).mean() > 0.85


def test_age_bounds_what_is_fresh() -> None:
    read_at_ms = np.array([-1, 0, 40, 41, 200], np.int64)
    assert is_fresh(read_at_ms, 100, 60).tolist() == [False, False, True, True, True]


def test_a_size_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        LastKnown(1000, {})
