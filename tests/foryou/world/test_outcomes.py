"""The truth must be true: what viewers did is distributed as the probabilities say."""

from __future__ import annotations

import numpy as np
import pytest

from foryou.world import World, outcomes
from foryou.world.outcomes import DISCRETE, HEAD_INDEX, HEAD_NAMES, HEADS, Shown
from foryou.world.world import _shown
from service_kit.action_list import ACTION_NAMES


def shown_with_taste(taste: float, count: int = 1) -> Shown:
    column = np.full(count, 1.0)
    yes = np.ones(count, bool)
    return Shown(taste * column, 0 * column, 0 * column, ~yes, yes, yes, yes)


def test_heads_are_the_first_actions_of_the_one_list():
    assert ACTION_NAMES[: len(HEAD_NAMES)] == HEAD_NAMES


@pytest.fixture(scope="module")
def truth(world: World):
    shown = world.impressions
    return outcomes.true_values(_shown(world, shown.viewers, shown.posts, world.before))


@pytest.mark.parametrize("head", HEADS[:DISCRETE], ids=lambda head: head.name)
def test_every_action_is_as_frequent_as_its_probability_says(world: World, truth, head):
    """Five standard errors, in each half of the impressions by probability."""
    column = HEAD_INDEX[head.name]
    expected, did = truth[:, column], world.did[:, column]
    for half in (expected <= np.median(expected), expected > np.median(expected)):
        spread = np.sqrt((expected[half] * (1 - expected[half])).sum()) + 1e-9
        assert abs(did[half].sum() - expected[half].sum()) < 5 * spread + 1e-6


def test_dwell_is_as_long_as_expected(world: World, truth):
    error = world.seconds - truth[:, HEAD_INDEX["dwell_time"]]
    assert abs(error.mean()) < 5 * error.std() / np.sqrt(len(error))


def test_dwelled_means_ten_seconds(world: World):
    assert np.array_equal(world.did[:, HEAD_INDEX["dwell"]], world.seconds >= 10)


@pytest.mark.parametrize("keenness", [-1.5, 0.0, 1.5])
def test_the_seconds_in_closed_form_equal_a_simulation(keenness):
    u = outcomes.utility(shown_with_taste(keenness))
    rng = np.random.default_rng(3)
    mean = outcomes.DWELL_LOG_MEAN + outcomes.DWELL_LOG_SLOPE * u[0]
    drawn = np.exp(mean + outcomes.DWELL_LOG_SIGMA * rng.normal(size=400_000))
    clipped = np.clip(drawn, outcomes.DWELL_SECONDS_MIN, outcomes.DWELL_SECONDS_MAX)
    assert outcomes.expected_seconds(u)[0] == pytest.approx(clipped.mean(), rel=0.01)
    assert outcomes.dwelled_probability(u)[0] == pytest.approx((drawn >= 10).mean(), abs=0.005)


def test_dislike_raises_every_negative_action_and_lowers_the_others():
    hated, loved = (outcomes.true_values(shown_with_taste(taste))[0] for taste in (-1.0, 1.4))
    for name in ("not_interested", "block_author", "mute_author", "report"):
        assert hated[HEAD_INDEX[name]] > 3 * loved[HEAD_INDEX[name]]
    for name in ("favorite", "reply", "repost", "dwell", "dwell_time", "share"):
        assert loved[HEAD_INDEX[name]] > 2 * hated[HEAD_INDEX[name]]


def test_a_post_without_a_video_cannot_be_watched(world: World, truth):
    shown = world.posts.video_ms[world.impressions.posts] == 0
    assert (truth[shown, HEAD_INDEX["video_quality_view"]] == 0).all()


def test_a_repost_is_worth_its_source(world: World):
    """Viewers react to what they see, whoever passed it on."""
    repost = int(np.flatnonzero(world.posts.kinds == 2)[0])
    pair = np.array([world.posts.ids[repost], world.posts.ids[world.posts.targets[repost]]])
    values = world.true_values(int(world.accounts.ids[3]), pair)
    assert np.array_equal(values[0], values[1])


def test_base_rates_are_those_of_a_real_community(world: World):
    """Likes in ten to thirty per cent, reports in less than one of a thousand."""
    rates = dict(zip(HEAD_NAMES, world.did.mean(axis=0), strict=False))
    assert 0.1 < rates["favorite"] < 0.3
    assert 0.01 < rates["reply"] < 0.06
    assert rates["report"] < 0.001
    assert rates["not_interested"] < 0.01


def test_an_unknown_account_or_post_is_named(world: World):
    with pytest.raises(KeyError, match="account 5 is not part"):
        world.true_values(5, world.posts.ids[:1])
    with pytest.raises(KeyError, match="post 17 is not part"):
        world.true_values(int(world.accounts.ids[0]), np.array([17]))
