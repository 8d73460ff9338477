"""The number that orders a feed, from its parts.

score = offset · diversity · oon for scored posts, which is ≥ 0. An unscored post has its fallback
f in [0, 1] in place of the offset, and score = f · diversity · oon − 2, which lies in [−2, −1]:
below every scored post, and visible as such to whoever reads the number alone.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FALLBACK_SHIFT: Final = 2.0  # leaves a gap of 1 to the lowest scored post

Reals = NDArray[np.float64]


def final_score(offset: Reals, diversity: Reals, oon: Reals, fallback: NDArray[Any]) -> Reals:
    """[N] from four columns [N]; ``fallback`` is boolean."""
    score: Reals = offset * diversity * oon
    return np.where(fallback, score - FALLBACK_SHIFT, score) if fallback.any() else score
