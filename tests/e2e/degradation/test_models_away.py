"""Rows of docs/degradation.md: the ranker, retrieval, and both of phoenix."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


def by_recency(feed: Any) -> bool:
    """The stated fallback: every score lies in [−2, −1], below that of any scored post."""
    return bool(feed.posts) and all(-2 <= post.score <= -1 for post in feed.posts)


def in_network(feed: Any) -> bool:
    return bool(feed.posts) and all(post.in_network for post in feed.posts)


async def test_ranker_killed(town: Any) -> None:
    """Feeds are ordered by recency, say so, and still hold posts of both kinds."""
    during = await town.outage(
        "ranker killed",
        lambda: town.processes.kill("ranker"),
        lambda: town.processes.again("ranker"),
        reasons={"PhoenixScorer:unavailable", "PhoenixScorer:circuit_open"},
        feeds=by_recency,
    )
    assert any(not post.in_network for answer in during for post in answer.feed.posts)


async def test_ranker_paused(town: Any) -> None:
    """Nobody waits for a ranker that hangs, once the circuit is open."""

    async def pause() -> None:
        town.processes.pause("ranker")

    async def resume() -> None:
        town.processes.resume("ranker")

    await town.outage(
        "ranker paused",
        pause,
        resume,
        reasons={"PhoenixScorer:timeout", "PhoenixScorer:circuit_open"},
        feeds=by_recency,
    )
