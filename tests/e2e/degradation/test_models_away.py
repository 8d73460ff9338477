"""Rows of docs/degradation.md: the ranker, retrieval, both, and a checkpoint that is refused."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

REFUSED = "foryou_phoenix_reloads_refused_total"

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
        *town.killing("ranker"),
        reasons={"PhoenixScorer:unavailable", "PhoenixScorer:circuit_open"},
        feeds=by_recency,
    )
    assert any(not post.in_network for answer in during for post in answer.feed.posts)


async def test_ranker_paused(town: Any) -> None:
    """Nobody waits for a ranker that hangs, once the circuit is open."""
    await town.outage(
        "ranker paused",
        *town.pausing("ranker"),
        reasons={"PhoenixScorer:timeout", "PhoenixScorer:circuit_open"},
        feeds=by_recency,
    )


async def test_retrieval_killed(town: Any) -> None:
    """The followed accounts' posts remain, ranked as ever."""
    await town.outage(
        "retrieval killed",
        *town.killing("retrieval"),
        reasons={"PhoenixSource:unavailable", "PhoenixSource:circuit_open"},
        feeds=lambda feed: in_network(feed) and feed.posts[0].score > 0,
    )


async def test_retrieval_paused(town: Any) -> None:
    await town.outage(
        "retrieval paused",
        *town.pausing("retrieval"),
        reasons={"PhoenixSource:timeout", "PhoenixSource:circuit_open"},
        feeds=lambda feed: in_network(feed) and feed.posts[0].score > 0,
    )


async def test_phoenix_killed(town: Any) -> None:
    """The newest posts of followed accounts: what a feed was before models."""
    await town.outage(
        "phoenix killed",
        *town.killing("ranker", "retrieval"),
        reasons={"PhoenixScorer:unavailable", "PhoenixSource:unavailable"},
        feeds=lambda feed: in_network(feed) and by_recency(feed),
    )


async def test_checkpoint_refused(town: Any) -> None:
    """A damaged new version is refused; the one in service goes on, and nobody notices."""
    versions = town.processes.data_dir / "checkpoints" / "ranker"
    newest = max(path for path in versions.iterdir() if path.is_dir())
    damaged = versions / "999999-1"

    async def publish() -> None:
        copy = town.processes.data_dir / "checkpoints" / "damaged"
        shutil.copytree(newest, copy)
        parameters = copy / "params.npz"
        parameters.write_bytes(parameters.read_bytes()[:-1000])
        copy.rename(damaged)

    async def withdraw() -> None:
        shutil.rmtree(damaged)

    async def refusals() -> float:
        return float(await town.metric("ranker", REFUSED, model="ranker"))

    before = await refusals()

    async def publish_and_wait() -> None:
        await publish()
        await town.until(lambda: more_than(before, refusals), "the checkpoint is refused")

    during = await town.outage("checkpoint refused", publish_and_wait, withdraw)
    versions_seen = {answer.feed.model_version for answer in during} - {""}  # "": not scored
    assert len(versions_seen) == 1


async def more_than(before: float, value: Any) -> bool:
    return bool(await value() > before)
