"""Rows a second of the SQL join: `python -m benchmarks.join --rows 1000000 --engine duckdb`.

Writes a log's export of so many served posts (50 a feed, 4 % with an action, 1 in 20 twice) to a
temporary directory and joins it `--repeats` times.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix.data.event_rows import ACTIONS_SCHEMA, POSTS_SCHEMA, SERVED_SCHEMA
from phoenix.data.sql_join import ENGINES, join_events

FEED_POSTS, ACTION_SHARE, TWICE_SHARE = 50, 0.04, 0.05
START_MS, SPAN_MS = 1_790_000_000_000, 86_400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="served posts")
    parser.add_argument("--engine", choices=ENGINES, default="duckdb")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        events = Path(scratch) / "events"
        write_export(events, given.rows, np.random.default_rng(0))
        seconds = []
        for _ in range(given.repeats):
            started_s = time.perf_counter()
            made = join_events(events, Path(scratch) / "out.parquet", engine=given.engine)
            seconds.append(time.perf_counter() - started_s)
    middle = statistics.median(seconds)
    print(
        f"{given.engine}: {given.rows} served posts → {made} rows in {middle:.2f} s "
        f"({min(seconds):.2f}–{max(seconds):.2f}, n = {len(seconds)}): "
        f"{given.rows / middle:,.0f} served posts/s on {os.cpu_count()} cores, {platform.machine()}"
    )


def write_export(directory: Path, rows: int, rng: np.random.Generator) -> None:
    """Three topics as `foryou export` leaves them."""
    feeds = rows // FEED_POSTS
    feed = np.repeat(np.arange(feeds), FEED_POSTS)
    viewers = rng.integers(1, max(feeds // 10, 2), feeds)[feed]
    at_ms = START_MS + rng.integers(0, SPAN_MS, feeds)[feed]
    posts = rng.integers(1, 100_000, len(feed))
    twice = np.concatenate([np.arange(len(feed)), rng.choice(len(feed), int(rows * TWICE_SHARE))])
    served = {
        "viewer_id": viewers[twice],
        "request_id": np.char.add("r", feed[twice].astype(str)),
        "served_at_ms": at_ms[twice],
        "product_surface": np.ones(len(twice), np.int8),
        "post_id": posts[twice],
        "author_id": posts[twice] % 997 + 1,
    }
    acted = rng.choice(len(feed), int(rows * ACTION_SHARE))
    actions = {
        "user_id": viewers[acted],
        "post_id": posts[acted],
        "author_id": posts[acted] % 997 + 1,
        "action": rng.integers(1, 20, len(acted)),
        "acted_at_ms": at_ms[acted] + rng.integers(0, 2_400_000, len(acted)),
        "product_surface": np.ones(len(acted), np.int8),
        "seconds": rng.random(len(acted)) * 20,
        "request_id": np.where(
            rng.random(len(acted)) < 0.9, np.char.add("r", feed[acted].astype(str)), ""
        ),
    }
    tables = {"served": (SERVED_SCHEMA, served), "actions": (ACTIONS_SCHEMA, actions)}
    for name, (schema, columns) in {**tables, "posts": (POSTS_SCHEMA, {})}.items():
        (directory / name).mkdir(parents=True)
        count = len(next(iter(columns.values()))) if columns else 0
        arrays = [
            pa.array(columns[f.name]).cast(f.type) if f.name in columns else pa.nulls(count, f.type)
            for f in schema
        ]
        table = pa.Table.from_arrays(arrays, schema=schema)
        pq.write_table(table, directory / name / "part-000001.parquet")


if __name__ == "__main__":
    main()
