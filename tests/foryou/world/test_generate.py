"""The world must be the same for everyone with the same seed, and look like a community."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foryou.world import World, WorldConfig, generate
from foryou.world.events import write_world
from foryou.world.posts import NEVER_MS, ORIGINAL, QUOTE, REPLY, REPOST
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.snowflake import timestamps_ms


async def test_equal_configurations_write_equal_logs(world, world_config, tmp_path):
    """Else nobody could reproduce a demo's feed from its seed."""
    for name, made in (("first", world), ("second", generate(world_config))):
        writer = EmbeddedLogWriter(tmp_path / name)
        await write_world(made, writer)
        await writer.close()
    first = {path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.log")}
    assert first
    for path in first:
        assert (tmp_path / "first" / path).read_bytes() == (tmp_path / "second" / path).read_bytes()


def test_another_seed_makes_another_world(world, world_config):
    other = generate(replace(world_config, seed=8))
    assert not np.array_equal(other.accounts.tastes, world.accounts.tastes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 3}, "users is 3, expected 50 to"),
        ({"held_out_hours": 60.0}, "held_out_hours is 60.0, expected"),
    ],
)
def test_a_size_that_cannot_work_says_what_would(world_config, change, message):
    with pytest.raises(ValueError, match=message):
        replace(world_config, **change)


def test_every_kind_of_post_and_relation_is_present(world: World):
    """A filter that the demo never exercises could be broken unseen."""
    posts, graph = world.posts, world.after
    assert {ORIGINAL, REPLY, REPOST, QUOTE} == set(posts.kinds.tolist())
    gone = posts.deleted_ms != NEVER_MS
    back = posts.undeleted_ms != NEVER_MS
    for present in (posts.paid, posts.labels > 0, posts.video_ms > 0, posts.photo, gone, back):
        assert 0 < present.sum() < len(posts.ids) / 2
    for edges in (graph.follows, graph.blocks, graph.mutes, graph.subscriptions):
        assert len(edges.keys) > 0
    assert world.before.muted_keywords


def test_post_ids_carry_their_times_and_end_now(world: World, world_config: WorldConfig):
    posts = world.posts
    assert np.array_equal(timestamps_ms(posts.ids), posts.created_ms)
    assert len(np.unique(posts.ids)) == len(posts.ids)
    assert posts.created_ms.min() >= world_config.start_ms
    assert posts.created_ms.max() < world_config.now_ms


def test_what_is_answered_came_before(world: World):
    """A reply to the future could never be threaded."""
    posts = world.posts
    answers = np.flatnonzero(posts.targets >= 0)
    assert (posts.targets[answers] < answers).all()
    replies = np.flatnonzero(posts.kinds == REPLY)
    assert (posts.kinds[posts.roots[replies]] == ORIGINAL).all()
    assert (posts.targets[posts.kinds == ORIGINAL] == -1).all()
    shown = np.flatnonzero(np.isin(posts.kinds, (REPOST, QUOTE)))
    assert (posts.kinds[posts.targets[shown]] == ORIGINAL).all()


def test_reposts_carry_the_text_of_their_source(world: World):
    posts = world.posts
    for row in np.flatnonzero(posts.kinds == REPOST).tolist():
        assert posts.texts[row] == posts.texts[posts.targets[row]]


def test_the_follow_graph_has_a_heavy_tail(world: World):
    """One per cent of the accounts must hold many times the follows of the median account."""
    followers = np.sort(world.after.follower_counts())
    assert followers[-len(followers) // 100] > 3 * np.median(followers)


def test_follows_lean_to_the_taste_but_do_not_tell_it(world: World):
    follows = world.before.follows
    topics = world.accounts.topic_mix[follows.targets].argmax(axis=1)
    taste = world.accounts.tastes[follows.viewers, topics]
    assert taste.mean() > world.accounts.tastes.mean() + 0.3
    assert (taste < 0).mean() > 0.1


def test_nobody_is_shown_what_they_may_not_see(world: World):
    """Such impressions would teach the models what the filters forbid."""
    shown, posts = world.impressions, world.posts
    authors = posts.authors[shown.posts]
    assert (authors != shown.viewers).all()
    assert not world.before.hidden(shown.viewers, authors).any()
    deleted = (posts.deleted_ms[shown.posts] <= shown.served_ms) & (
        shown.served_ms < posts.undeleted_ms[shown.posts]
    )
    assert not deleted.any()
    paid = posts.paid[shown.posts]
    assert world.before.subscriptions.contains(shown.viewers, authors)[paid].all()
    assert (posts.created_ms[shown.posts] <= shown.served_ms).all()
    assert not (posts.kinds[shown.posts] == REPOST).any()


def test_a_small_world_keeps_posts_to_rank(world_config):
    """Else a demo of fifty accounts would have nothing unseen to show."""
    small = generate(replace(world_config, users=50))
    seen = np.bincount(small.impressions.viewers, minlength=50)
    assert (seen < 0.5 * len(small.posts.ids)).all()


def test_a_post_is_shown_to_a_viewer_once(world: World):
    pairs = world.impressions.viewers * len(world.posts.ids) + world.impressions.posts
    assert len(np.unique(pairs)) == len(pairs)


def test_propensities_are_probabilities_and_add_up_over_the_posts(world: World):
    """Off-policy estimates divide by them: for one slot they sum to at most one."""
    from foryou.world.impressions import _Policy

    assert (world.impressions.propensity > 0).all()
    assert (world.impressions.propensity <= 1).all()
    policy = _Policy(world.accounts, world.before, world.posts)
    everything = np.arange(len(world.posts.ids))
    viewers = np.full(len(everything), 5)
    at_ms = np.full(len(everything), world.config.cutoff_ms)
    known = world.posts.created_ms < world.config.cutoff_ms
    total = policy.propensity(viewers, everything, at_ms)[known].sum()
    assert 0.5 < total <= 1 + 1e-9  # slots for which nothing fits have the rest


def test_no_impression_follows_a_follow_block_or_mute_of_its_pair(world: World):
    """The truth that drew it would have been another one."""
    from foryou.world.outcomes import HEAD_INDEX

    shown = world.impressions
    authors = world.posts.authors[shown.posts]
    changed = world.did[
        :, [HEAD_INDEX[n] for n in ("follow_author", "block_author", "mute_author")]
    ].any(axis=1)
    assert changed.any()
    keys = shown.viewers * len(world.accounts.ids) + authors
    for row in np.flatnonzero(changed).tolist():
        assert not (keys[row + 1 :] == keys[row]).any()
