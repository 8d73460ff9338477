"""The whole pipeline while every store is silent or fails: on time, safe, and told as such."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from candidate_pipeline.observer import Observer
from home_mixer.clients.memory import MemoryFeatureStore
from home_mixer.clients.protocols import FeatureClients, StoreError
from home_mixer.clients.writes import BLOCK, FOLLOW, EdgeChange, FeatureBatch, PostContent
from home_mixer.pipeline import Collaborators, build_pipeline
from home_mixer.settings import HomeMixerSettings
from protos import phoenix_pb2, thunder_pb2
from service_kit.clock import ManualClock

VIEWER, FRIEND, BLOCKED, BLOCKS, QUOTER, NEWCOMER = 1, 10, 66, 77, 20, 30
BUDGET_MS = 1_000
SLACK_S = 5.0  # of a busy machine; a request that waits for its stores never ends
HANGS = "hangs"


class MoodyStores:
    """Every method of every store: answers, fails or never answers."""

    def __init__(self, store: MemoryFeatureStore) -> None:
        self.store = store
        self.mood = ""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        async def ask(*arguments: object) -> object:
            if self.mood == HANGS:
                await asyncio.Event().wait()
            if self.mood:
                raise StoreError(self.mood)
            return await method(*arguments)

        return ask

    def clients(self) -> FeatureClients:
        me: Any = self
        return FeatureClients(me, me, me, me, me, me, me)


class Feeds:
    """A pipeline over moody stores; thunder brings ``posts`` of (id, author)."""

    def __init__(self, post_id: Any) -> None:
        self.now_ms = 0
        authors = (FRIEND, BLOCKED, BLOCKS, QUOTER, FRIEND, FRIEND)
        self.ids = [post_id(60 * n) for n in range(1, len(authors) + 1)]
        self.posts = list(zip(self.ids, authors, strict=True))
        store = MemoryFeatureStore()
        contents = [(i, PostContent(a, 1, text="t")) for i, a in self.posts]
        of_blocked = self.ids[1]
        contents[3] = (
            self.ids[3],
            PostContent(QUOTER, 1, quoted_post_id=of_blocked, quoted_user_id=BLOCKED),
        )
        edges = [
            *((FOLLOW, VIEWER, author, EdgeChange(1, False)) for author in set(authors)),
            (BLOCK, VIEWER, BLOCKED, EdgeChange(1, False)),
            (BLOCK, BLOCKS, VIEWER, EdgeChange(1, False)),
        ]
        deleted, spam = self.ids[4], self.ids[5]
        store.apply(
            FeatureBatch(
                contents=contents,
                edges=edges,
                statuses=[(deleted, True, 5)],
                labels=[(spam, 1 << 1, 1)],
            ),
            {},
        )
        self.stores = MoodyStores(store)
        nothing: Any = None
        self.pipeline, _ = build_pipeline(
            HomeMixerSettings(request_budget_ms=BUDGET_MS, store_budget_ms=300),
            Collaborators(
                clients=self.stores.clients(),
                thunder=[self.thunder],
                retrieve=self.retrieve,
                predict=self.predict,
                events=nothing,
                clock=ManualClock(),
            ),
            Observer(),
        )

    async def of(self, query: Any) -> tuple[list[int], set[str]]:
        """(ids served, reasons)."""
        async with asyncio.timeout(BUDGET_MS / 1e3 + SLACK_S):
            result = await self.pipeline.execute(query)
        return result.selected["post_id"].tolist(), set(result.degraded_reasons)

    async def thunder(self, request: Any, **_: Any) -> Any:
        found = [
            thunder_pb2.LightPost(post_id=post, author_id=author, created_at_ms=1)
            for post, author in self.posts
        ]
        return thunder_pb2.GetInNetworkPostsResponse(posts=found).SerializeToString()

    async def retrieve(self, request: Any, **_: Any) -> Any:
        return b""  # a RetrieveResponse without posts

    async def predict(self, message: bytes, **_: Any) -> Any:
        request = phoenix_pb2.PredictNextActionsRequest.FromString(message)
        count = len(request.candidates)
        return phoenix_pb2.PredictNextActionsResponse(
            actions=[1], log_probs=np.log(np.full(count, 0.1)).tolist(), model_version="m"
        )


@pytest.fixture
def feeds(post_id: Any) -> Feeds:
    return Feeds(post_id)


def later(make_query: Any, seconds: int) -> Any:
    query = make_query(viewer_id=VIEWER, leaves_traces=False)
    return make_query(viewer_id=VIEWER, leaves_traces=False, now_ms=query.now_ms + seconds * 1_000)


@pytest.mark.parametrize("mood", [HANGS, "the disk is gone"])
async def test_last_known_facts_make_a_safe_feed(feeds: Feeds, make_query: Any, mood: str) -> None:
    assert await feeds.of(later(make_query, 0)) == ([feeds.ids[0]], set())
    feeds.stores.mood = mood
    newcomer = feeds.ids[0] + 1
    feeds.posts.append((newcomer, NEWCOMER))  # nobody knows anything of it
    served, reasons = await feeds.of(later(make_query, 30))
    assert served == [feeds.ids[0]]
    assert {
        "UserFeaturesQueryHydrator:stale",
        "CoreDataHydrator:stale",
        "SubscriptionHydrator:stale",
        "BlockedByHydrator:stale",
        "VisibilityHydrator:stale",
    } <= reasons


@pytest.mark.parametrize("mood", [HANGS, "the disk is gone"])
@pytest.mark.parametrize("seconds", [61, 601])
async def test_what_is_too_old_serves_no_longer(
    feeds: Feeds, make_query: Any, mood: str, seconds: int
) -> None:
    """Labels after a minute, lists and blocks after ten: then nothing is shown, and told why."""
    await feeds.of(later(make_query, 0))
    feeds.stores.mood = mood
    served, reasons = await feeds.of(later(make_query, seconds))
    assert served == []
    why = "timeout" if mood == HANGS else "error"
    lists = "stale" if seconds < 600 else why
    assert f"UserFeaturesQueryHydrator:{lists}" in reasons
    if seconds < 600:
        assert f"VisibilityHydrator:{why}" in reasons


@pytest.mark.parametrize("mood", [HANGS, "the disk is gone"])
async def test_without_anything_known_nothing_is_shown(
    feeds: Feeds, make_query: Any, mood: str
) -> None:
    """The first feed of a process that was started in an outage."""
    feeds.stores.mood = mood
    served, reasons = await feeds.of(later(make_query, 0))
    assert served == []
    assert any(reason.startswith("UserFeaturesQueryHydrator:") for reason in reasons)
