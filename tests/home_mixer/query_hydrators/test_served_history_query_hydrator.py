"""What counts as served lately: a window of time and a number of posts."""

from __future__ import annotations

from typing import Any

import numpy as np

from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.params import load_params
from home_mixer.query_hydrators.served_history_query_hydrator import ServedHistoryQueryHydrator


async def test_posts_within_the_window_sorted(make_query: Any) -> None:
    store, query = MemoryFeatureStore(), make_query()
    window_ms = query.params.served_history_window_seconds * 1000
    await store.add_served(1, np.array([9, 3], np.uint64), query.now_ms - window_ms)
    await store.add_served(1, np.array([5], np.uint64), query.now_ms - window_ms - 1)
    await store.add_served(2, np.array([6], np.uint64), query.now_ms)
    fields: Any = await ServedHistoryQueryHydrator(store, 100.0).hydrate(query)
    assert fields["served_history_ids"].tolist() == [3, 9]


async def test_the_newest_so_many(make_query: Any) -> None:
    store = MemoryFeatureStore()
    query = make_query(params=load_params("x-2026-10", {"served_history_posts_max": 2}))
    for n in range(1, 5):
        await store.add_served(1, np.array([n], np.uint64), query.now_ms - 10 + n)
    fields: Any = await ServedHistoryQueryHydrator(store, 100.0).hydrate(query)
    assert fields["served_history_ids"].tolist() == [3, 4]
