"""Age of a post at a moment, from the time that its snowflake id carries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service_kit.snowflake import timestamps_ms

UNKNOWN_AGE_SECONDS = -1.0


def post_ages_seconds(post_ids: NDArray[np.int64], at_ms: NDArray[np.int64]) -> NDArray[np.float32]:
    """Seconds from each post's creation to `at_ms` (broadcast against the ids).

    -1 where the id is no snowflake, the time is unknown (0 or less) or the post is from the future.
    """
    created_ms = timestamps_ms(post_ids)
    age_ms = np.broadcast_to(at_ms, created_ms.shape) - created_ms
    known = (created_ms >= 0) & (at_ms > 0) & (age_ms >= 0)
    return np.where(known, age_ms / 1000.0, UNKNOWN_AGE_SECONDS).astype(np.float32)
