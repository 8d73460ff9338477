"""Real processes die; the feed goes on, says what is missing, and recovers by itself."""

from __future__ import annotations

import time

import pytest

from home_mixer.client import FeedError
from protos import home_mixer_pb2

RANKER = "foryou.phoenix.v1.PredictionService"
RETRIEVAL = "foryou.phoenix.v1.RetrievalService"
BUDGET_SECONDS = 1.0  # HOME_MIXER__REQUEST_BUDGET_MS
SLACK_SECONDS = 1.0  # of a busy test machine
STRANGER = 4_242_424_242

pytestmark = pytest.mark.e2e


def mentions(reasons, name):
    return any(name in reason for reason in reasons)


async def all_ready(suite):
    for name in ("thunder", "ingester", "home-mixer"):
        await suite.ready(name)
    for service in (RANKER, RETRIEVAL):
        await suite.ready("phoenix", service)


async def timed_feed(suite, viewer_id):
    async with suite.client() as client:
        start_s = time.monotonic()
        feed = await client.get_scored_posts(viewer_id)
        return feed, time.monotonic() - start_s


async def test_phoenix_or_thunder_killed_and_back(demo_run, start_suite):
    """Feeds keep coming within their deadline and name what is gone; no operator is needed."""
    viewer = demo_run.result["viewer_id"]
    async with start_suite(demo_run.data_dir) as suite:
        await all_ready(suite)
        whole = await suite.feed_when(viewer, lambda f: not f.degraded_reasons, "that is whole")
        assert len(whole.posts) >= 10
        assert not all(post.in_network for post in whole.posts)

        await suite.kill("phoenix")
        for _ in range(5):
            feed, seconds = await timed_feed(suite, viewer)
            assert seconds < BUDGET_SECONDS + SLACK_SECONDS
            assert feed.posts
            assert all(post.in_network for post in feed.posts)
            assert mentions(feed.degraded_reasons, "PhoenixScorer")
            assert mentions(feed.degraded_reasons, "PhoenixSource")
        await suite.start("phoenix")
        await suite.feed_when(viewer, lambda f: not f.degraded_reasons, "after phoenix came back")

        await suite.kill("thunder")
        feed, seconds = await timed_feed(suite, viewer)
        assert seconds < BUDGET_SECONDS + SLACK_SECONDS
        assert feed.posts
        assert mentions(feed.degraded_reasons, "ThunderSource")
        await suite.start("thunder")
        await suite.feed_when(viewer, lambda f: not f.degraded_reasons, "after thunder came back")

        for name in ("home-mixer", "thunder", "phoenix", "ingester"):
            assert await suite.terminate(name) == 0, f"{name} did not end cleanly"


async def test_stranger_gets_a_feed_and_bad_requests_a_clear_error(demo_run, start_suite):
    """A viewer whom nobody knows has no history and follows nobody: retrieval still finds posts."""
    async with start_suite(demo_run.data_dir) as suite:
        await all_ready(suite)
        feed = await suite.feed_when(STRANGER, lambda f: not f.degraded_reasons, "for a stranger")
        assert feed.posts
        assert not any(post.in_network for post in feed.posts)
        async with suite.client() as client:
            with pytest.raises(FeedError, match="viewer_id must be specified"):
                await client.get_scored_posts(0)
            with pytest.raises(FeedError, match="seen_ids") as too_many:
                await client.get_scored_posts(1, seen_ids=range(1, 20_002))
            assert too_many.value.code == "INVALID_ARGUMENT"
            bloom = home_mixer_pb2.BloomFilterEntry(bits=b"12", num_bits=64, num_hashes=3)
            query = home_mixer_pb2.ScoredPostsQuery(viewer_id=1, bloom_filter_entries=[bloom])
            with pytest.raises(FeedError, match="bloom_filter_entries"):
                await client.send(query)


async def test_empty_store_gives_an_empty_feed_that_says_why(tmp_path, start_suite):
    """The first minute of a new installation: no post, no model, no error, no wait."""
    async with start_suite(tmp_path / "data") as suite:
        for name in ("thunder", "ingester", "home-mixer"):
            await suite.ready(name)
        feed, seconds = await timed_feed(suite, STRANGER)
        assert not feed.posts
        assert mentions(feed.degraded_reasons, "PhoenixSource")
        assert seconds < BUDGET_SECONDS + SLACK_SECONDS
