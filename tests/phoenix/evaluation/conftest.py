"""A small synthetic set in KuaiRand-Pure's columns and files."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DAY_MS = 86_400_000
FIRST_DAY_MS = 1_650_816_000_000  # 25 April 2022 00:00 in China
USERS, VIDEOS, AUTHORS, DAYS = 40, 60, 12, 4
RATES = {
    "is_click": 0.4,
    "is_like": 0.1,
    "is_follow": 0.05,
    "is_comment": 0.05,
    "is_forward": 0.03,
    "is_hate": 0.02,
    "is_profile_enter": 0.05,
}


@pytest.fixture(scope="session")
def kuairand_tables():
    """Impressions of four days and older history; likes of tab 1 far above those of tab 0."""
    rng = np.random.default_rng(0)
    rows = 1_200
    taste, quality = rng.normal(size=(USERS, 2)), rng.normal(size=(VIDEOS, 2))

    def long_view(users, videos, tab):
        logits = (taste[users] * quality[videos]).sum(1) + quality[videos, 0] + 2 * tab - 1.5
        return (rng.random(len(users)) < 1 / (1 + np.exp(-logits))).astype(np.int8)

    users, videos = rng.integers(0, USERS, rows), rng.integers(0, VIDEOS, rows)
    tab = rng.integers(0, 2, rows)
    viewed = long_view(users, videos, tab)
    table = {
        "user_id": users,
        "video_id": videos,
        "author_id": videos % AUTHORS,
        "time_ms": np.sort(FIRST_DAY_MS + rng.integers(0, DAYS * DAY_MS, rows)),
        "tab": tab,
        "long_view": viewed,
        "play_time_ms": np.where(viewed, 20_000, 2_000),
        **{name: (rng.random(rows) < rate).astype(np.int8) for name, rate in RATES.items()},
    }
    old_users, position = np.repeat(np.arange(USERS), 20), np.tile(np.arange(20), USERS)
    old_videos = rng.integers(0, VIDEOS, USERS * 20)
    older = {
        "user_id": old_users,
        "pos": position,
        "video_id": old_videos,
        "long_watch": long_view(old_users, old_videos, np.ones(USERS * 20)),
        "is_like": (rng.random(USERS * 20) < 0.1).astype(np.int8),
    }
    return table, older


@pytest.fixture(scope="session")
def write_kuairand(kuairand_tables, tmp_path_factory):
    """Writes the set; `changes` replace columns of the impressions, None drops one."""

    def write(rows=slice(None), **changes):
        table, older = kuairand_tables
        directory = tmp_path_factory.mktemp("kuairand")
        changed = {k: v for k, v in (table | changes).items() if v is not None}
        path = directory / "dev_impressions.parquet"
        pq.write_table(pa.table({k: v[rows] for k, v in changed.items()}), path)
        pq.write_table(pa.table(older), directory / "history.parquet")
        return directory

    return write
