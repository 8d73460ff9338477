"""Topics `foryou.served` and `foryou.actions`: what was shown, and what followed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foryou.world.event_parts import acted_ms, event_keys
from foryou.world.outcomes import ACTION_NUMBERS, DISCRETE, HEAD_INDEX
from foryou.world.world import World
from protos import actions_pb2, events_pb2
from service_kit.event_log import Entry

MODEL_VERSION = "logging-policy"
_SURFACE = actions_pb2.PRODUCT_SURFACE_HOME_TIMELINE_RANKING


def request_ids(world: World) -> list[str]:
    """Request id of every session, by its number."""
    last = int(world.impressions.sessions.max(initial=-1))
    return [f"world-{world.config.seed}-{number}" for number in range(last + 1)]


def served_events(world: World) -> list[Entry]:
    """One event a session with the posts shown, and with which probability."""
    shown = world.impressions
    order = np.lexsort((shown.positions, shown.sessions))
    shown = shown.take(order)
    bounds = np.flatnonzero(np.diff(shown.sessions, prepend=-1))
    author_ids = world.accounts.ids[world.posts.authors[shown.posts]]
    in_network = world.before.follows.contains(shown.viewers, world.posts.authors[shown.posts])
    posts = [
        events_pb2.ServedPost(
            post_id=post, author_id=author, position=position, in_network=near, propensity=chance
        )
        for post, author, position, near, chance in zip(
            world.posts.ids[shown.posts].tolist(),
            author_ids.tolist(),
            shown.positions.tolist(),
            in_network.tolist(),
            shown.propensity.tolist(),
            strict=True,
        )
    ]
    names = request_ids(world)
    ends = [*bounds[1:].tolist(), len(posts)]
    return [
        _served(world, int(viewer), names[session], int(at_ms), posts[start:end])
        for viewer, session, at_ms, start, end in zip(
            world.accounts.ids[shown.viewers[bounds]].tolist(),
            shown.sessions[bounds].tolist(),
            shown.served_ms[bounds].tolist(),
            bounds.tolist(),
            ends,
            strict=True,
        )
    ]


def _served(
    world: World, viewer_id: int, request_id: str, at_ms: int, posts: list[events_pb2.ServedPost]
) -> Entry:
    event = events_pb2.ServedEvent(
        viewer_id=viewer_id,
        request_id=request_id,
        served_at_ms=at_ms,
        product_surface=_SURFACE,
        posts=posts,
        model_version=MODEL_VERSION,
    )
    return viewer_id.to_bytes(8, "big"), event.SerializeToString(), at_ms


def action_events(world: World) -> list[Entry]:
    """One event for each discrete action, and the seconds of every impression."""
    rows, columns = np.nonzero(world.did)
    count = len(world.impressions)
    numbers = np.array(ACTION_NUMBERS)
    dwell = HEAD_INDEX["dwell"]
    every = np.arange(count)
    rows = np.concatenate((rows, every))
    actions = np.concatenate((numbers[columns], np.full(count, numbers[DISCRETE])))
    timed = (columns == dwell, np.ones(count, bool))
    seconds = np.where(np.concatenate(timed), world.seconds[rows], 0.0)
    return _encode_actions(world, rows, actions, seconds)


def _encode_actions(
    world: World,
    rows: NDArray[np.int64],
    actions: NDArray[np.int64],
    seconds: NDArray[np.float64],
) -> list[Entry]:
    at_ms = acted_ms(world)[rows]
    order = np.argsort(at_ms, kind="stable")
    rows, actions, seconds, at_ms = rows[order], actions[order], seconds[order], at_ms[order]
    viewers = world.accounts.ids[world.impressions.viewers[rows]]
    posts = world.impressions.posts[rows]
    authors = world.accounts.ids[world.posts.authors[posts]]
    names = request_ids(world)
    make = events_pb2.ActionEvent
    columns = zip(
        event_keys(viewers),
        viewers.tolist(),
        world.posts.ids[posts].tolist(),
        authors.tolist(),
        actions.tolist(),
        at_ms.tolist(),
        seconds.tolist(),
        world.impressions.sessions[rows].tolist(),
        strict=True,
    )
    return [
        (
            key,
            make(
                user_id=viewer,
                post_id=post,
                author_id=author,
                action=action,
                acted_at_ms=at,
                product_surface=_SURFACE,
                seconds=stayed,
                request_id=names[session],
            ).SerializeToString(),
            at,
        )
        for key, viewer, post, author, action, at, stayed, session in columns
    ]
