"""Services get the world as events; they must get all of it, and nothing of its secrets."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from foryou.world import (
    World,
    action_events,
    event_parts,
    graph_events,
    post_events,
)
from foryou.world.outcomes import HEAD_INDEX
from foryou.world.posts import NEVER_MS
from protos import actions_pb2, events_pb2
from service_kit.event_log import event_key


@pytest.fixture(scope="module")
def posts(world: World) -> list[events_pb2.PostEvent]:
    return [
        events_pb2.PostEvent.FromString(value) for _, value, _ in post_events.post_events(world)
    ]


@pytest.fixture(scope="module")
def actions(world: World) -> list[events_pb2.ActionEvent]:
    entries = action_events.action_events(world)
    return [events_pb2.ActionEvent.FromString(value) for _, value, _ in entries]


@pytest.mark.parametrize("module", [action_events, event_parts, graph_events, post_events])
def test_no_event_is_made_from_a_taste_or_a_quality(module):
    """The quality of the feed is honest only while the truth stays out of every event."""
    source = inspect.getsource(module)
    for secret in ("tastes", ".quality", "topic_mix", ".topics", "true_values", "fame"):
        assert secret not in source


def test_the_events_do_not_change_with_the_secrets(world: World):
    """The same posts, relations and actions under other tastes give the same bytes."""
    from dataclasses import replace

    rng = np.random.default_rng(0)
    other = replace(
        world,
        accounts=replace(
            world.accounts,
            tastes=rng.normal(size=world.accounts.tastes.shape),
            quality=rng.normal(size=world.accounts.quality.shape),
            topic_mix=rng.random(world.accounts.topic_mix.shape),
            fame=rng.random(world.accounts.fame.shape),
        ),
        posts=replace(
            world.posts,
            quality=rng.normal(size=world.posts.quality.shape),
            topics=np.zeros_like(world.posts.topics),
        ),
    )
    for make in (
        post_events.post_events,
        graph_events.graph_events,
        action_events.action_events,
        action_events.served_events,
    ):
        assert make(world) == make(other)


def test_every_post_is_created_once_and_complete(world: World, posts):
    created = [event.create for event in posts if event.HasField("create")]
    assert sorted(post.post_id for post in created) == world.posts.ids.tolist()
    assert all(post.text and post.author_id and post.created_at_ms for post in created)
    replies = [post for post in created if post.HasField("in_reply_to_post_id")]
    assert replies
    assert all(post.conversation_id != post.post_id for post in replies)
    assert any(post.HasField("reposted_post_id") for post in created)
    assert any(post.HasField("quoted_post_id") for post in created)
    assert any(post.HasField("subscription_author_id") for post in created)


def test_deletions_undeletions_and_labels_are_told(world: World, posts):
    kinds = [event.WhichOneof("event") for event in posts]
    assert kinds.count("delete") == (world.posts.deleted_ms != NEVER_MS).sum()
    assert kinds.count("undelete") == (world.posts.undeleted_ms != NEVER_MS).sum()
    assert kinds.count("labels") == (world.posts.labels > 0).sum()


def test_actions_are_those_that_happened(world: World, actions):
    likes = sum(event.action == actions_pb2.ACTION_FAVORITE for event in actions)
    assert likes == world.did[:, HEAD_INDEX["favorite"]].sum()
    timed = [event for event in actions if event.action == actions_pb2.ACTION_DWELL_TIME]
    assert len(timed) == len(world.impressions)
    assert all(event.seconds > 0 for event in timed)


def test_actions_come_after_their_response_and_before_now(world: World, actions):
    served = {}
    for _, value, _ in action_events.served_events(world):
        event = events_pb2.ServedEvent.FromString(value)
        served[event.request_id] = event
    shown = {(request, post.post_id) for request, event in served.items() for post in event.posts}
    for action in actions:
        response = served[action.request_id]
        assert response.viewer_id == action.user_id
        assert (action.request_id, action.post_id) in shown
        assert response.served_at_ms < action.acted_at_ms <= world.config.now_ms


def test_positions_of_a_response_have_no_gaps(world: World):
    for _, value, _ in action_events.served_events(world):
        event = events_pb2.ServedEvent.FromString(value)
        assert [post.position for post in event.posts] == list(range(len(event.posts)))


def test_every_event_is_keyed_by_whom_its_topic_names(world: World):
    for key, value, at_ms in action_events.action_events(world)[:500]:
        event = events_pb2.ActionEvent.FromString(value)
        assert (key, at_ms) == (event_key(event.user_id), event.acted_at_ms)
    for key, value, _ in post_events.post_events(world)[:500]:
        event = events_pb2.PostEvent.FromString(value)
        assert key == event_key(event.create.author_id)


def test_the_graph_told_is_the_graph_now(world: World):
    """A consumer that applies all edges in time order ends with the relations of now."""
    entries = sorted(graph_events.graph_events(world), key=lambda entry: entry[2])
    follows: set[tuple[int, int]] = set()
    for _, value, _ in entries:
        event = events_pb2.GraphEvent.FromString(value)
        edge = event.edge
        if event.HasField("edge") and edge.kind == events_pb2.GraphEdge.KIND_FOLLOW:
            pair = (edge.user_id, edge.target_user_id)
            (follows.discard if edge.removed else follows.add)(pair)
    ids = world.accounts.ids
    now = world.after.follows
    expected = set(zip(ids[now.viewers].tolist(), ids[now.targets].tolist(), strict=True))
    assert follows == expected
