"""Scored posts are never negative, unscored ones always are."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from home_mixer.scorers.final_score import final_score

unit = st.floats(0.0, 1.0)


@given(unit, unit, unit, st.floats(0.0, 1e6))
def test_no_multiplier_lifts_an_unscored_post_above_a_scored_one(fallback, diversity, oon, offset):
    offsets, flags = np.array([fallback, offset]), np.array([True, False])
    multipliers = np.array([diversity, 0.0])
    unscored, scored = final_score(offsets, multipliers, np.array([oon, 0.0]), flags)
    assert -2.0 <= unscored <= -1.0 < 0.0 <= scored
