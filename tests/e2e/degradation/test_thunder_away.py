"""Rows of docs/degradation.md: thunder, one of its shares, its feeder, and every source at once."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


def from_retrieval(feed: Any) -> bool:
    return bool(feed.posts) and all(
        post.served_type == "for_you_phoenix_retrieval" for post in feed.posts
    )


def says(answers: Any, alone: str, in_shares: str) -> bool:
    """With shares each says its own."""
    reasons = {reason for answer in answers for reason in answer.feed.degraded_reasons}
    return not reasons.isdisjoint({alone, in_shares})


async def test_thunder_killed(town: Any) -> None:
    """Recommendations remain. The reason says which of the shares, where there are some."""
    during = await town.outage(
        "thunder killed",
        *town.killing(*town.thunders),
        feeds=from_retrieval,
        parts={"ThunderSource"},
    )
    assert says(during, "ThunderSource:unavailable", "ThunderSource:share_0_unavailable")
    assert says(during, "ThunderSource:circuit_open", "ThunderSource:share_0_circuit_open")


async def test_thunder_paused(town: Any) -> None:
    during = await town.outage(
        "thunder paused",
        *town.pausing(*town.thunders),
        feeds=from_retrieval,
        parts={"ThunderSource"},
    )
    assert says(during, "ThunderSource:timeout", "ThunderSource:share_0_timeout")
    assert says(during, "ThunderSource:circuit_open", "ThunderSource:share_0_circuit_open")


async def test_thunder_share_killed(town: Any) -> None:
    """Half of the followed accounts are missing, and the feed says which half."""
    town.needs_wires()
    during = await town.outage(
        "thunder share killed",
        *town.killing("thunder-1"),
        reasons={"ThunderSource:share_1_unavailable", "ThunderSource:share_1_circuit_open"},
    )
    kinds = {post.served_type for answer in during for post in answer.feed.posts}
    assert kinds == {"for_you_in_network", "for_you_phoenix_retrieval"}


async def test_thunder_share_paused(town: Any) -> None:
    town.needs_wires()
    await town.outage(
        "thunder share paused",
        *town.pausing("thunder-1"),
        reasons={"ThunderSource:share_1_timeout", "ThunderSource:share_1_circuit_open"},
    )


async def test_every_source_killed(town: Any) -> None:
    """An empty feed that says why, at once."""
    during = await town.outage(
        "thunder and retrieval killed",
        *town.killing(*town.thunders, "retrieval"),
        feeds=lambda feed: not feed.posts,
        parts={"ThunderSource", "PhoenixSource"},
    )
    for answer in during[len(during) // 2 :]:
        named = {reason.partition(":")[0] for reason in answer.feed.degraded_reasons}
        assert answer.feed.posts or {"ThunderSource", "PhoenixSource"} <= named
