"""The number that judges the feed must be the number its definition says."""

from __future__ import annotations

import numpy as np
import pytest

from foryou.quality import (
    Judged,
    captured_engagement,
    choose_demo_viewer,
    choose_viewers,
    expected_values,
    popularity,
)
from foryou.world import World
from foryou.world.outcomes import HEAD_NAMES
from foryou.world.posts import REPLY, REPOST
from home_mixer.params import load_params


def judged(rng: np.random.Generator, count: int) -> Judged:
    return Judged(
        values=rng.normal(size=count),
        ours=rng.normal(size=count),
        newest=rng.permutation(count),
        popularity=rng.normal(size=count),
    )


def brute_force(viewers: list[Judged], key: str, top: int) -> float:
    def mean_top(name: str) -> float:
        means = []
        for viewer in viewers:
            rows = sorted(
                zip(getattr(viewer, name), viewer.values, strict=True), key=lambda row: -row[0]
            )
            best = [value for _, value in rows[:top]]
            means.append(sum(best) / len(best))
        return sum(means) / len(means)

    return (mean_top(key) - mean_top("newest")) / (mean_top("values") - mean_top("newest"))


@pytest.mark.parametrize("seed", range(5))
def test_captured_engagement_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    viewers = [judged(rng, int(count)) for count in rng.integers(3, 60, 12)]
    captured = captured_engagement(viewers, top=7)
    assert captured.ours == pytest.approx(brute_force(viewers, "ours", 7))
    assert captured.popularity == pytest.approx(brute_force(viewers, "popularity", 7))
    assert captured.viewers == 12


def test_the_oracle_captures_everything_and_newest_first_nothing():
    viewer = judged(np.random.default_rng(1), 50)
    oracle = Judged(viewer.values, viewer.values, viewer.newest, viewer.newest.astype(float))
    captured = captured_engagement([oracle])
    assert (captured.ours, captured.popularity) == (pytest.approx(1), pytest.approx(0))


def test_no_candidate_or_no_choice_is_an_error_and_no_number():
    nothing = Judged(*(np.zeros(0) for _ in range(4)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no viewer has an eligible candidate"):
        captured_engagement([nothing])
    few = judged(np.random.default_rng(1), 5)
    with pytest.raises(ValueError, match="too few candidates"):
        captured_engagement([few])


def test_a_value_is_the_weighted_truth_with_the_boost_of_friends(world: World):
    params = load_params("x-2026-08")  # in which a watched video counts
    authors = world.accounts.ids[world.posts.authors]
    for viewer_id in world.accounts.ids[:40].tolist():
        values = expected_values(world, viewer_id, world.posts.ids, params)
        truth = world.true_values(viewer_id, world.posts.ids)
        friends = np.flatnonzero(world.mutual(viewer_id, authors))
        for row in {*range(0, len(world.posts.ids), 97), *friends.tolist()}:
            heads = dict(zip(HEAD_NAMES, truth[row].tolist(), strict=True))
            weights = dict(params.weights)
            author = int(world.accounts.ids[world.posts.authors[row]])
            original = world.posts.kinds[row] not in (REPLY, REPOST)
            if original and world.mutual(viewer_id, np.array([author]))[0]:
                weights["reply"] += params.mutual_follow_reply_boost
            if world.posts.video_ms[world.posts.content[row]] <= params.min_video_duration_ms:
                heads["video_quality_view"] = 0.0
            expected = sum(weights[name] * value for name, value in heads.items())
            assert values[row] == pytest.approx(expected)


def test_popularity_follows_engagement_and_knows_no_viewer(world: World):
    rates = popularity(world)
    assert (rates > 0).all()
    content = world.posts.content
    assert np.array_equal(rates, rates[content])
    busy = np.bincount(world.impressions.posts, minlength=len(rates)) >= 30
    likes = np.bincount(world.impressions.posts, world.did[:, 0], len(rates))
    shown = np.bincount(world.impressions.posts, minlength=len(rates))
    assert np.corrcoef(rates[busy], likes[busy] / shown[busy])[0, 1] > 0.7


def test_judged_viewers_engaged_after_the_cutoff_and_are_the_same_each_time(world: World):
    chosen = choose_viewers(world, 30)
    assert np.array_equal(chosen, choose_viewers(world, 30))
    recent = world.impressions.viewers[world.impressions.seen_ms >= world.config.cutoff_ms]
    assert np.isin(chosen, world.accounts.ids[recent]).all()


def test_the_demo_viewer_has_something_for_every_filter(world: World):
    row = world.account_row(choose_demo_viewer(world))
    graph = world.after
    assert 15 <= len(graph.follows.of_viewer(row)) <= 60
    assert len(graph.blocks.of_viewer(row)) > 0
    assert len(graph.mutes.of_viewer(row)) > 0
    assert (world.posts.authors == row).any()
    assert (world.impressions.viewers == row).sum() >= 100
    assert graph.follower_counts()[row] > 0
