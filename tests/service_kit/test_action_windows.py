"""Where a viewer's actions open a window, against a walk over them one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service_kit.action_windows import window_starts

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=40)


def walked(rows, window_ms):
    opens, current, first = [], None, 0
    for group, at in rows:
        new = group != current or at - first >= window_ms
        if new:
            current, first = group, at
        opens.append(new)
    return opens


@given(ROWS, st.integers(1, 50))
def test_windows_open_as_a_walk_over_the_actions_opens_them(rows, window_ms):
    """Training and serving share this; if it were wrong, both would read false histories."""
    rows = sorted(rows)
    groups = np.array([group for group, _ in rows], np.int64)
    times = np.array([at for _, at in rows], np.int64)
    found = window_starts(np.diff(groups, prepend=-1) != 0, times, window_ms)
    assert found.tolist() == walked(rows, window_ms)


def test_times_of_any_age_do_not_overflow():
    """A log of many years is one array; its keys must fit all the same."""
    times = np.array([0, 2**61, 2**61 + 1], np.int64)
    opens = window_starts(np.array([True, False, False]), times, 300_000)
    assert opens.tolist() == [True, True, False]
