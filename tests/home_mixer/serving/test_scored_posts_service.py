"""The service over real gRPC: good requests, bad requests, and neighbours that fail."""

from __future__ import annotations

import asyncio
import json
import math
import re
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from home_mixer.bloom import BloomFilter
from home_mixer.client import AsyncHomeMixerClient, FeedError, HomeMixerClient, scored_posts_query
from home_mixer.clients.embedded_users import EmbeddedUserStore
from home_mixer.clients.protocols import StoreError
from home_mixer.clients.writes import EdgeChange, FeatureBatch
from home_mixer.query import BLOOM_FILTERS_MAX, SEEN_IDS_MAX
from home_mixer.server import main
from home_mixer.settings import HomeMixerSettings
from protos import events_pb2, home_mixer_pb2
from service_kit.embedded_log import EmbeddedLogSource
from service_kit.event_log import TOPIC_SERVED

VIEWER, FOLLOWED, STRANGER = 1, 100, 200


async def feed_until(client: AsyncHomeMixerClient, wanted: Any, viewer_id: int = VIEWER) -> Any:
    """Asks again until the answer is as wanted; the test's own time-out is the bound."""
    async with asyncio.timeout(60):
        while True:
            feed = await client.get_scored_posts(viewer_id)
            if wanted(feed):
                return feed


async def test_a_feed_is_ranked_and_says_what_made_it(start_home_mixer: Any, world: Any) -> None:
    mixer = await start_home_mixer()
    feed = await mixer.client.get_scored_posts(VIEWER)
    assert len(feed.posts) == 10
    scores = [post.score for post in feed.posts]
    assert scores == sorted(scores, reverse=True)
    assert feed.posts[0].post_id == max(world[0].posts, key=lambda p: -p.post_id).post_id
    assert feed.degraded_reasons == ()
    assert feed.model_version == "m-1"
    assert re.fullmatch(r"\d+-1", feed.request_id)
    assert len(feed.params_hash) == 12
    friend = next(post for post in feed.posts if post.author_id == FOLLOWED)
    assert friend.screen_names == {FOLLOWED: "friend"}
    assert friend.in_network
    assert friend.served_type == "for_you_in_network"
    assert friend.last_scored_timestamp_ms > 0
    stranger = next(post for post in feed.posts if post.author_id == STRANGER)
    assert (stranger.in_network, stranger.served_type) == (False, "for_you_phoenix_retrieval")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"viewer_id": 0}, "viewer_id must be specified"),
        ({"viewer_id": -5}, "viewer_id is -5"),
        (
            {"viewer_id": 1, "seen_ids": range(1, SEEN_IDS_MAX + 2)},
            f"seen_ids has {SEEN_IDS_MAX + 1} ids; the limit is {SEEN_IDS_MAX}",
        ),
        ({"viewer_id": 1, "served_ids": [3, -1]}, "served_ids[1] is -1"),
        ({"viewer_id": 1, "country_code": "x" * 36}, "country_code has 36 characters"),
    ],
)
async def test_a_bad_request_is_told_what_to_mend(
    start_home_mixer: Any, query: dict[str, Any], message: str
) -> None:
    mixer = await start_home_mixer()
    with pytest.raises(FeedError, match=re.escape(message)) as caught:
        await mixer.client.send(scored_posts_query(**query))
    assert caught.value.code == "INVALID_ARGUMENT"


async def test_a_malformed_bloom_filter_is_refused_by_name(start_home_mixer: Any) -> None:
    mixer = await start_home_mixer()
    entry = home_mixer_pb2.BloomFilterEntry(bits=b"\0" * 3, num_bits=64, num_hashes=3)
    query = home_mixer_pb2.ScoredPostsQuery(viewer_id=1, bloom_filter_entries=[entry])
    with pytest.raises(FeedError, match=r"bloom_filter_entries\[0\].*3.*8") as caught:
        await mixer.client.send(query)
    assert caught.value.code == "INVALID_ARGUMENT"
    query = home_mixer_pb2.ScoredPostsQuery(
        viewer_id=1, bloom_filter_entries=[entry] * (BLOOM_FILTERS_MAX + 1)
    )
    with pytest.raises(FeedError, match="the limit is 32"):
        await mixer.client.send(query)


async def test_what_the_viewer_saw_does_not_come_back(start_home_mixer: Any, world: Any) -> None:
    mixer = await start_home_mixer()
    seen, in_filter = world[0].posts[0].post_id, world[0].posts[1].post_id
    query = scored_posts_query(
        VIEWER,
        seen_ids=[seen],
        bloom_filters=[BloomFilter.build(np.array([in_filter], np.uint64), 1_024, 4)],
    )
    feed = await mixer.client.send(query)
    shown = {post.post_id for post in feed.posts}
    assert seen not in shown
    assert in_filter not in shown
    assert len(shown) >= 7


async def test_a_second_request_brings_other_posts(start_home_mixer: Any) -> None:
    mixer = await start_home_mixer()
    first = await mixer.client.get_scored_posts(VIEWER)
    again = await feed_until(mixer.client, lambda feed: not feed.posts)
    assert len(first.posts) == 10
    assert again.degraded_reasons == ()  # nothing failed: all had been served


async def test_an_unknown_viewer_gets_a_feed_all_the_same(start_home_mixer: Any) -> None:
    mixer = await start_home_mixer()
    feed = await mixer.client.get_scored_posts(987_654)
    assert {post.author_id for post in feed.posts} == {STRANGER}
    assert feed.degraded_reasons == ()


async def test_a_following_feed_holds_followed_accounts_alone(
    start_home_mixer: Any, world: Any
) -> None:
    mixer = await start_home_mixer()
    feed = await mixer.client.get_scored_posts(VIEWER, in_network_only=True)
    assert {post.author_id for post in feed.posts} == {FOLLOWED}
    assert world[1].retrievals == []


async def test_an_empty_store_and_nobody_to_ask_is_an_empty_feed(start_home_mixer: Any) -> None:
    mixer = await start_home_mixer(FeatureBatch())
    await mixer.thunder.stop()
    await mixer.phoenix.stop()
    feed = await mixer.client.get_scored_posts(VIEWER)
    assert feed.posts == ()
    assert set(feed.degraded_reasons) == {"ThunderSource:unavailable", "PhoenixSource:unavailable"}


@pytest.fixture
def served_again(tmp_path: Path) -> str:
    """Parameters that let a post be served again, for tests that ask more than once."""
    path = tmp_path / "served_again.json"
    path.write_text(json.dumps({"parameters": {"enable_served_filter_all_requests": False}}))
    return str(path)


async def test_feeds_go_on_without_phoenix_and_recover_by_themselves(
    start_home_mixer: Any, served_again: str
) -> None:
    mixer = await start_home_mixer(params=served_again)
    await mixer.client.get_scored_posts(VIEWER)
    await mixer.phoenix.stop()
    feed = await mixer.client.get_scored_posts(VIEWER)
    assert {post.author_id for post in feed.posts} == {FOLLOWED}
    assert set(feed.degraded_reasons) == {"PhoenixSource:unavailable", "PhoenixScorer:unavailable"}
    assert feed.model_version == ""
    assert all(post.score < 0 for post in feed.posts)  # the stated fallback
    newest_first = [post.post_id for post in feed.posts]
    assert newest_first[0] == max(newest_first)
    await mixer.phoenix.start()
    feed = await feed_until(mixer.client, lambda feed: not feed.degraded_reasons)
    assert feed.model_version == "m-1"


async def test_feeds_go_on_without_thunder_and_recover_by_themselves(
    start_home_mixer: Any, served_again: str
) -> None:
    mixer = await start_home_mixer(params=served_again)
    await mixer.thunder.stop()
    feed = await mixer.client.get_scored_posts(VIEWER)
    assert {post.author_id for post in feed.posts} == {STRANGER}
    assert feed.degraded_reasons == ("ThunderSource:unavailable",)
    await mixer.thunder.start()
    feed = await feed_until(mixer.client, lambda feed: not feed.degraded_reasons)
    assert {post.author_id for post in feed.posts} == {FOLLOWED, STRANGER}


async def test_a_partial_answer_of_thunder_is_used_and_named(
    start_home_mixer: Any, world: Any
) -> None:
    world[0].partial = True
    mixer = await start_home_mixer()
    feed = await mixer.client.get_scored_posts(VIEWER)
    assert len(feed.posts) == 10
    assert feed.degraded_reasons == ("ThunderSource:partial",)


async def test_neighbours_that_hang_cost_their_part_and_not_the_deadline(
    start_home_mixer: Any, world: Any
) -> None:
    never = asyncio.Event()
    world[1].trouble.until = never
    mixer = await start_home_mixer(retrieval_budget_ms=500, late_reserve_ms=1_000)
    feed = await mixer.client.get_scored_posts(VIEWER, timeout_s=5.0)
    assert {post.author_id for post in feed.posts} == {FOLLOWED}
    assert set(feed.degraded_reasons) == {"PhoenixSource:timeout", "PhoenixScorer:timeout"}


async def test_a_busy_thunder_is_named(start_home_mixer: Any, world: Any) -> None:
    world[0].trouble.code = grpc.StatusCode.RESOURCE_EXHAUSTED
    mixer = await start_home_mixer()
    feed = await mixer.client.get_scored_posts(VIEWER)
    assert feed.degraded_reasons == ("ThunderSource:resource_exhausted",)


async def test_requests_above_the_bound_are_refused_at_once(
    start_home_mixer: Any, world: Any
) -> None:
    go = asyncio.Event()
    world[0].trouble.until = go
    mixer = await start_home_mixer(max_concurrent_requests=1)
    first = asyncio.create_task(mixer.client.get_scored_posts(VIEWER))
    async with asyncio.timeout(60):
        await world[0].arrived.wait()
    with pytest.raises(FeedError, match="at capacity: 1 requests") as caught:
        await mixer.client.get_scored_posts(VIEWER)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    go.set()
    assert len((await first).posts) == 10
    refused = {"method": "GetScoredPosts", "code": "RESOURCE_EXHAUSTED"}
    assert mixer.metrics.value("requests_total", **refused) == 1
    assert mixer.metrics.value("requests_total", method="GetScoredPosts", code="OK") == 1


async def test_an_explanation_accounts_for_every_candidate(
    start_home_mixer: Any, world: Any
) -> None:
    batch = world[2]
    batch.edges.append((2, VIEWER, STRANGER, EdgeChange(1, False)))  # blocks the stranger
    mixer = await start_home_mixer()
    answer = await mixer.client.explain(scored_posts_query(VIEWER))
    assert dict(answer.fate_counts) | {"served": 5, "removed": 5} == dict(answer.fate_counts)
    assert sum(answer.fate_counts.values()) == len(answer.candidates) == 10
    served, removed = answer.candidates[:5], answer.candidates[5:]
    assert [c.position for c in served] == [0, 1, 2, 3, 4]
    assert [c.post_id for c in served] == [p.post_id for p in answer.response.scored_posts]
    for candidate in served:
        assert list(candidate.sources) == ["ThunderSource"]
        assert candidate.fate == "served"
        assert {term.head for term in candidate.terms} == {"favorite", "dwell_time"}
        total = sum(term.contribution for term in candidate.terms)
        assert math.isclose(total, candidate.weighted, rel_tol=1e-9)
        product = candidate.offset * candidate.diversity * candidate.oon
        assert math.isclose(candidate.score, product, rel_tol=1e-9)
        assert candidate.text == "post of 100"
    for candidate in removed:
        assert (candidate.fate, candidate.removed_by) == ("removed", "AuthorSocialgraphFilter")
        assert candidate.position == -1
    stages = {(stage.stage, stage.component) for stage in answer.stages}
    assert ("Source", "ThunderSource") in stages
    assert ("LateFilter", "VFFilter") in stages


async def test_what_was_served_is_an_event_that_training_can_join(start_home_mixer: Any) -> None:
    mixer = await start_home_mixer()
    feed = await mixer.client.get_scored_posts(VIEWER)
    await mixer.process.stop()
    source = EmbeddedLogSource(mixer.directory / "log", [TOPIC_SERVED])
    (record,) = await source.poll(10, 10.0)
    event = events_pb2.ServedEvent.FromString(record.value)
    assert (event.viewer_id, event.request_id) == (VIEWER, feed.request_id)
    assert (event.model_version, event.params_hash) == ("m-1", feed.params_hash)
    assert [post.post_id for post in event.posts] == [post.post_id for post in feed.posts]
    assert [post.position for post in event.posts] == list(range(10))
    best = event.posts[0]
    assert math.isclose(math.exp(best.log_probs[0]), 0.5, rel_tol=1e-6)
    assert math.isnan(best.log_probs[1])  # this model predicts likes alone
    assert (best.dwell_seconds, best.propensity) == (5.0, 1.0)


async def test_new_parameters_take_effect_without_a_restart(
    start_home_mixer: Any, tmp_path: Path, served_again: str
) -> None:
    mixer = await start_home_mixer(params=served_again, params_reload_seconds=0.1)
    before = await mixer.client.get_scored_posts(VIEWER)
    path = tmp_path / "served_again.json"
    path.write_text(json.dumps({"parameters": {"result_size": 3, "top_k": 10}}))
    after = await feed_until(mixer.client, lambda feed: feed.params_hash != before.params_hash)
    assert len(after.posts) <= 3
    path.write_text("{")
    kept = await feed_until(
        mixer.client,
        lambda _: mixer.metrics.value("params_reloads_total", outcome="refused") == 1,
    )
    assert kept.params_hash == after.params_hash


async def test_the_blocking_client_gives_the_same_feed(
    start_home_mixer: Any, served_again: str
) -> None:
    mixer = await start_home_mixer(params=served_again)
    expected = await mixer.client.get_scored_posts(VIEWER)

    def ask() -> Any:
        with HomeMixerClient(mixer.address, timeout_s=30.0) as client:
            with pytest.raises(FeedError, match="INVALID_ARGUMENT: viewer_id must be specified"):
                client.get_scored_posts(0)
            explained = client.explain(scored_posts_query(VIEWER))
            return client.get_scored_posts(VIEWER), len(explained.candidates)

    feed, candidates = await asyncio.to_thread(ask)
    assert [post.post_id for post in feed.posts] == [post.post_id for post in expected.posts]
    assert candidates == 10


async def test_components_are_counted(start_home_mixer: Any, world: Any) -> None:
    mixer = await start_home_mixer()
    await mixer.phoenix.stop()
    await mixer.client.get_scored_posts(VIEWER, in_network_only=True)
    value = mixer.metrics.value

    def runs(stage: str, component: str, outcome: str) -> float:
        labels = {"stage": stage, "component": component, "outcome": outcome}
        return value("component_runs_total", **labels)

    assert runs("Source", "ThunderSource", "ok") == 1
    assert runs("Source", "PhoenixSource", "disabled") == 1
    assert runs("Scorer", "PhoenixScorer", "failed") == 1
    assert value("degraded_total", reason="PhoenixScorer:unavailable") == 1
    assert value("candidates_total", fate="served") == 5


async def test_one_summary_line_a_request_without_a_users_text(
    start_home_mixer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mixer = await start_home_mixer()
    with caplog.at_level("INFO"):
        feed = await mixer.client.get_scored_posts(VIEWER)
    (line,) = [record for record in caplog.records if record.message == "request served"]
    assert vars(line)["request_id"] == feed.request_id
    assert vars(line)["fetched"] == 10
    assert vars(line)["counts"]["served"] == 10
    assert "post of" not in str(vars(line))


async def test_an_outage_of_the_store_shows_nothing_that_could_be_blocked(
    start_home_mixer: Any, served_again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixer = await start_home_mixer(params=served_again, user_features_stale_seconds=0)
    assert (await mixer.client.get_scored_posts(VIEWER)).posts

    async def gone(*_: object) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(EmbeddedUserStore, "get_features", gone)
    feed = await mixer.client.get_scored_posts(VIEWER + 1)
    assert feed.posts == ()
    assert feed.degraded_reasons == ("UserFeaturesQueryHydrator:error",)


def test_parameters_that_do_not_load_stop_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(HomeMixerSettings(data_dir=tmp_path, params="x-1999-01")) == 2
    assert "'x-1999-01' is neither a table of parameters" in capsys.readouterr().err


async def test_a_caller_who_gives_up_and_a_bug_are_told_apart_in_the_counters(
    start_home_mixer: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world[0].trouble.until = asyncio.Event()
    mixer = await start_home_mixer()
    asked = asyncio.create_task(mixer.client.get_scored_posts(VIEWER))
    async with asyncio.timeout(60):
        await world[0].arrived.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("home_mixer.serving.servicer.validate", broken)
    with pytest.raises(FeedError, match="UNKNOWN"):
        await mixer.client.get_scored_posts(VIEWER)

    def count(code: str) -> float:
        return mixer.metrics.value("requests_total", method="GetScoredPosts", code=code)

    async with asyncio.timeout(60):
        while count("CANCELLED") < 1:  # the server hears of it a moment later
            with pytest.raises(FeedError):
                await mixer.client.get_scored_posts(VIEWER)
    assert count("UNKNOWN") >= 1
    assert count("OK") == 0


async def test_an_explanation_does_not_count_as_served(start_home_mixer: Any) -> None:
    mixer = await start_home_mixer()
    query = scored_posts_query(VIEWER)
    first, second = await mixer.client.explain(query), await mixer.client.explain(query)
    await mixer.process._feed.pipeline.drain(10)
    feed = await mixer.client.send(query)
    explained = [post.post_id for post in first.response.scored_posts]
    assert len(explained) == 10
    assert [post.post_id for post in second.response.scored_posts] == explained
    assert [post.post_id for post in feed.posts] == explained
    source = EmbeddedLogSource(mixer.directory / "log", [TOPIC_SERVED])
    (record,) = await source.poll(10, 10.0)  # the real request's alone
    assert events_pb2.ServedEvent.FromString(record.value).request_id == feed.request_id
