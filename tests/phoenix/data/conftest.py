"""Small random impressions and events."""

import numpy as np
import pytest

from phoenix.data.impressions import Impressions

NAMES = ("favorite", "reply", "video_quality_view")


@pytest.fixture(scope="session")
def make_impressions():
    """Builds impressions from a seed: few viewers and times, so that ties are common."""

    def make(seed: int = 0, rows: int = 60, **replaced):
        rng = np.random.default_rng(seed)
        dwell = np.where(rng.random(rows) < 0.3, rng.integers(1, 30, rows), np.nan)
        shown_ms = rng.integers(1_000, 1_030, rows) * 1_000
        columns = {
            "viewer_ids": rng.integers(1, 5, rows),
            "post_ids": rng.integers(1, 30, rows),
            "author_ids": rng.integers(1, 6, rows),
            "impressed_at_ms": shown_ms,
            "product_surface": rng.integers(0, 3, rows),
            "labels": rng.random((rows, len(NAMES))) < 0.25,
            "dwell_seconds": dwell,
            "weight": (rng.random(rows) < 0.8) * 1.0,
            "in_history": rng.random(rows) < 0.8,
            "known_at_ms": shown_ms + rng.integers(0, 8, rows) * 1_000,
        }
        return Impressions(action_names=NAMES, **{**columns, **replaced})

    return make
