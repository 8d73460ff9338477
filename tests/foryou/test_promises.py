"""The demo must notice a feed that breaks its promises, whatever the promise."""

from __future__ import annotations

import numpy as np
import pytest

from foryou.promises import broken_promises
from foryou.world import World
from foryou.world.posts import ORIGINAL, QUOTE, REPOST


def reasons(world: World, viewer: int, row: int) -> str:
    return "; ".join(
        broken_promises(world, int(world.accounts.ids[viewer]), world.posts.ids[[row]])
    )


def first_by(world: World, author: int) -> int:
    return int(np.flatnonzero(world.posts.authors == author)[0])


def first_pair(world: World, edges) -> tuple[int, int]:
    """A (viewer, target) edge whose target wrote something."""
    written = np.isin(edges.targets, world.posts.authors)
    return int(edges.viewers[written][0]), int(edges.targets[written][0])


def test_own_posts_are_refused(world: World):
    author = int(world.posts.authors[0])
    assert "the viewer's own" in reasons(world, author, 0)


def test_seen_posts_are_refused_and_their_reposts_too(world: World):
    shown = world.impressions
    assert "seen before" in reasons(world, int(shown.viewers[0]), int(shown.posts[0]))
    reposts = np.flatnonzero(world.posts.kinds == REPOST)
    for repost in reposts.tolist():
        seen = shown.viewers[shown.posts == world.posts.targets[repost]]
        if len(seen):
            assert "seen before" in reasons(world, int(seen[0]), repost)
            return
    pytest.fail("no reposted post was shown in this world")


def test_deleted_posts_are_refused_and_undeleted_ones_are_not(world: World):
    now = world.config.now_ms
    gone = np.flatnonzero(world.posts.deleted_at(now))
    back = np.flatnonzero(world.posts.undeleted_ms <= now)
    assert "deleted" in reasons(world, 0, int(gone[0]))
    assert "deleted" not in reasons(world, 0, int(back[0]))


def test_paid_posts_are_refused_to_all_but_subscribers(world: World):
    paid = int(np.flatnonzero(world.posts.paid)[0])
    author = int(world.posts.authors[paid])
    subscribers = world.after.subscriptions.viewers[world.after.subscriptions.targets == author]
    others = sorted({*range(20)} - {*subscribers.tolist()} - {author})
    assert "only for subscribers" in reasons(world, others[0], paid)


def test_reposts_of_paid_posts_are_refused_to_all_but_subscribers(world: World):
    posts, subscriptions = world.posts, world.after.subscriptions
    reposts = np.flatnonzero((posts.kinds == REPOST) & posts.paid[posts.targets])
    row = int(reposts[0])
    payee = posts.authors[posts.targets[row]]
    subscribers = subscriptions.viewers[subscriptions.targets == payee]
    others = sorted({*range(20)} - {*subscribers.tolist()} - {int(payee)})
    assert "only for subscribers" in reasons(world, others[0], row)


def test_subscribers_may_have_paid_posts(world: World):
    subscriptions = world.after.subscriptions
    paid = np.flatnonzero(world.posts.paid)
    for viewer, author in zip(subscriptions.viewers, subscriptions.targets, strict=True):
        rows = paid[world.posts.authors[paid] == author]
        if len(rows):
            assert "only for subscribers" not in reasons(world, int(viewer), int(rows[0]))
            return
    pytest.fail("nobody in this world subscribes to a writer of paid posts")


def test_blocks_and_mutes_hide_the_author_on_both_sides(world: World):
    blocker, blocked = first_pair(world, world.after.blocks)
    assert "whom the viewer blocks" in reasons(world, blocker, first_by(world, blocked))
    muter, muted = first_pair(world, world.after.mutes)
    assert "whom the viewer mutes" in reasons(world, muter, first_by(world, muted))
    written = np.isin(world.after.blocks.viewers, world.posts.authors)
    blocker = int(world.after.blocks.viewers[written][0])
    blocked = int(world.after.blocks.targets[written][0])
    assert "who blocks the viewer" in reasons(world, blocked, first_by(world, blocker))


def test_blocks_cover_who_is_reposted_or_quoted(world: World):
    blocks = world.after.blocks
    for row in np.flatnonzero(np.isin(world.posts.kinds, (REPOST, QUOTE))).tolist():
        source = world.posts.authors[world.posts.targets[row]]
        blockers = blocks.viewers[blocks.targets == source]
        if len(blockers):
            assert "repeating" in reasons(world, int(blockers[0]), row)
            return
    pytest.fail("nobody blocks a reposted or quoted writer in this world")


def test_muted_words_are_refused(world: World):
    for viewer, word in world.before.muted_keywords:
        for row, text in enumerate(world.posts.texts):
            if f" {word} " in text:
                assert f"muted word ({word}" in reasons(world, viewer, row)
                return
    pytest.fail("no muted word occurs in this world")


def test_a_post_of_a_followed_writer_breaks_nothing(world: World):
    """Else every feed would be refused."""
    now = world.config.now_ms
    for row in np.flatnonzero(world.posts.kinds == ORIGINAL).tolist()[::-1]:
        if world.posts.paid[row] or world.posts.deleted_at(now)[row]:
            continue
        author = int(world.posts.authors[row])
        followers = world.after.follows.viewers[world.after.follows.targets == author]
        for viewer in followers.tolist():
            if not reasons(world, viewer, row):
                return
    pytest.fail("every post is refused to every follower of its author")
