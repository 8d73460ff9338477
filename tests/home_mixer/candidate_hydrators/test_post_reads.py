"""Three components read one record in one round trip, and share no answer beyond it."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from candidate_pipeline.components import FailurePolicy
from candidate_pipeline.errors import Degraded
from home_mixer.candidate_hydrators.core_data_hydrator import CoreDataHydrator
from home_mixer.candidate_hydrators.post_reads import SharedPostReads
from home_mixer.candidate_hydrators.subscription_hydrator import SubscriptionHydrator
from home_mixer.candidate_hydrators.video_duration_hydrator import VideoDurationHydrator
from home_mixer.clients.protocols import StoreError
from home_mixer.clients.writes import FeatureBatch, PostContent


async def test_one_round_trip_for_the_three(store: Any, make_query: Any, make_table: Any) -> None:
    content = PostContent(2, 3, subscription_author_id=2, video_duration_ms=9_000, text="t")
    store.apply(FeatureBatch(contents=[(11, content)]), {})
    reads = SharedPostReads(store)
    hydrators: list[Any] = [
        CoreDataHydrator(reads, 100.0),
        VideoDurationHydrator(reads, 100.0),
        SubscriptionHydrator(reads, 100.0, FailurePolicy.FAIL_CLOSED),
    ]
    query, table = make_query(), make_table({"post_id": 11}, {"post_id": 12})
    core, video, subscription = await asyncio.gather(*(h.hydrate(query, table) for h in hydrators))
    assert store.calls == ["get_posts"]
    assert core["text"].tolist() == ["t", ""]
    assert video["video_duration_ms"].tolist() == [9_000, 0]
    assert subscription["subscription_author_id"].tolist() == [2, 0]
    await hydrators[0].hydrate(query, table)
    assert len(store.calls) == 2  # nothing is kept once the answer was given


async def test_other_ids_are_another_read(store: Any, make_query: Any) -> None:
    reads, query = SharedPostReads(store), make_query()
    one, two = np.array([1], np.uint64), np.array([2], np.uint64)
    await asyncio.gather(reads.get_posts(query, one), reads.get_posts(query, two))
    assert len(store.calls) == 2


async def test_a_waiter_that_gives_up_does_not_end_the_others_read(
    store: Any, make_query: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, reads, query = asyncio.Event(), SharedPostReads(store), make_query()
    read = store.get_posts

    async def slow(post_ids: Any) -> Any:
        await go.wait()
        return await read(post_ids)

    monkeypatch.setattr(store, "get_posts", slow)
    ids = np.array([1], np.uint64)
    first = asyncio.create_task(reads.get_posts(query, ids))
    second = asyncio.create_task(reads.get_posts(query, ids))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert (await second).found.tolist() == [False]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_outage_reaches_all_and_paywalls_hold(
    store: Any, make_query: Any, make_table: Any
) -> None:
    store.down = True
    reads = SharedPostReads(store)
    subscription = SubscriptionHydrator(reads, 100.0, FailurePolicy.FAIL_CLOSED)
    query, table = make_query(), make_table({"post_id": 11, "author_id": 5})
    with pytest.raises(StoreError):
        await subscription.hydrate(query, table)
    assert subscription.fail_closed(query, table)["subscription_author_id"].tolist() == [5]


async def test_in_an_outage_what_was_read_before_holds(
    store: Any, make_query: Any, make_table: Any
) -> None:
    """A post's text, thread, video and paywall do not change: its feeds may go on."""
    content = PostContent(5, 3, video_duration_ms=9_000, text="t", quoted_post_id=7)
    store.apply(FeatureBatch(contents=[(11, content)]), {})
    reads, query = SharedPostReads(store), make_query()
    core, video = CoreDataHydrator(reads, 100.0), VideoDurationHydrator(reads, 100.0)
    paywall = SubscriptionHydrator(reads, 100.0, FailurePolicy.FAIL_CLOSED)
    table = make_table({"post_id": 11, "author_id": 5}, {"post_id": 12, "author_id": 6})
    await core.hydrate(query, table)
    columns: dict[str, Any] = {}
    for hydrator in (core, video, paywall):
        with pytest.raises(Degraded) as stale:
            hydrator.fail_closed(query, table)
        assert stale.value.reason == "stale"
        columns.update(stale.value.output or {})
    assert columns["core_data_found"].tolist() == [1, -1]
    assert columns["text"].tolist() == ["t", ""]
    assert columns["quoted_post_id"].tolist() == [7, 0]
    assert columns["video_duration_ms"].tolist() == [9_000, 0]
    assert columns["subscription_author_id"].tolist() == [0, 6]
    nothing = make_table({"post_id": 12, "author_id": 6})
    assert core.fail_closed(query, nothing)["core_data_found"].tolist() == [-1]
    assert video.fail_closed(query, nothing)["video_duration_ms"].tolist() == [0]
