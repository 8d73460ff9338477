"""Rows of docs/degradation.md: Redis in its four bad moods, and the ingester that fills it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

# What was known a moment ago makes the feed, and says so.
LAST_KNOWN = {
    "UserFeaturesQueryHydrator:stale",
    "CoreDataHydrator:stale",
    "SubscriptionHydrator:stale",
    "BlockedByHydrator:stale",
    "VisibilityHydrator:stale",
}
# Everything that reads a store.
STORES = {
    *(reason.partition(":")[0] for reason in LAST_KNOWN),
    "AuthorInformationHydrator",
    "MutualFollowHydrator",
    "QuotedPostHydrator",
    "ServedHistoryQueryHydrator",
    "UserActionSequenceQueryHydrator",
    "VideoDurationHydrator",
}


async def test_redis_killed(town: Any) -> None:
    """Feeds go on from what was last known; the new Redis is empty and is filled again."""
    town.needs_wires()

    async def kill() -> None:
        await asyncio.to_thread(town.redis.kill)

    async def start() -> None:
        await asyncio.to_thread(town.redis.start)

    await town.outage("redis killed", kill, start, reasons=LAST_KNOWN, parts=STORES)


async def test_redis_paused(town: Any) -> None:
    """A Redis that hangs costs a feed its budgets, then nothing: its circuits are open."""
    town.needs_wires()

    async def pause() -> None:
        town.redis.pause()

    async def resume() -> None:
        town.redis.resume()

    during = await town.outage("redis paused", pause, resume, reasons=LAST_KNOWN, parts=STORES)
    reasons = {reason for answer in during for reason in answer.feed.degraded_reasons}
    assert "UserActionSequenceQueryHydrator:circuit_open" in reasons


async def test_redis_flushed(town: Any) -> None:
    """An emptied Redis is no "nobody blocks anybody": stores say that they know nothing."""
    town.needs_wires()

    async def flush() -> None:
        await asyncio.to_thread(town.redis.command, "FLUSHALL")

    async def nothing() -> None:
        """The ingester fills it again without a hand."""

    await town.outage(
        "redis flushed",
        flush,
        nothing,
        reasons={"UserFeaturesQueryHydrator:stale"},
        parts=STORES,
        feeds=lambda feed: True,  # it may be full again before anyone looks
        outage_s=0.5,
    )


async def test_redis_refuses_writes(town: Any) -> None:
    """Nothing is read wrongly and no feed waits; what is new arrives when it takes writes again."""
    town.needs_wires()

    async def refuse() -> None:
        await asyncio.to_thread(town.redis.command, "CONFIG", "SET", "min-replicas-to-write", "1")
        await town.emit(mute, judged=False)

    async def accept() -> None:
        await asyncio.to_thread(town.redis.command, "CONFIG", "SET", "min-replicas-to-write", "0")

    viewer = town.viewers[0]
    mute = await town.muted(viewer)
    await town.outage("redis refuses writes", refuse, accept)
    town.learn(mute)
    await town.until_clean(viewer)


async def test_ingester_killed(town: Any) -> None:
    """Feeds stay whole; what changed meanwhile holds once it is back."""
    viewer = town.viewers[1]
    mute = await town.muted(viewer)
    kill, start = town.killing("ingester")

    async def kill_and_mute() -> None:
        await kill()
        await town.emit(mute, judged=False)

    await town.outage("ingester killed", kill_and_mute, start)
    town.learn(mute)
    await town.until_clean(viewer)
