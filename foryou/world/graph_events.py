"""Topic `foryou.graph`: profiles, relations older than the window, and those that changed in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from foryou.world.config import HOUR_MS
from foryou.world.event_parts import acted_ms, entry, event_keys
from foryou.world.graph import Edges, Graph
from foryou.world.outcomes import HEAD_INDEX
from foryou.world.world import World
from protos import events_pb2
from service_kit.event_log import Entry

GRAPH_AGE_HOURS = 30 * 24  # relations and profiles are older than the window, spread over a month
_KINDS = events_pb2.GraphEdge.Kind


def graph_events(world: World) -> list[Entry]:
    """Profiles, relations from before the window, and those that actions changed in it."""
    rng = np.random.default_rng((world.config.seed, 1))
    before = world.before
    entries = [*_profiles(world)]
    for kind, edges in _relations(before):
        at_ms = _old_times(world, len(edges.keys), rng)
        entries += _edge_events(world, kind, edges.viewers, edges.targets, at_ms)
    entries += _muted_keywords(world, rng)
    return entries + _changed_relations(world)


def _relations(graph: Graph) -> tuple[tuple[_KINDS.ValueType, Edges], ...]:
    edge = events_pb2.GraphEdge
    return (
        (edge.KIND_FOLLOW, graph.follows),
        (edge.KIND_BLOCK, graph.blocks),
        (edge.KIND_MUTE, graph.mutes),
        (edge.KIND_SUBSCRIBE, graph.subscriptions),
    )


def _old_times(world: World, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    oldest = world.config.start_ms - GRAPH_AGE_HOURS * HOUR_MS
    return rng.integers(oldest, world.config.start_ms, count).astype(np.int64)


def _profiles(world: World) -> Iterator[Entry]:
    accounts, followers = world.accounts, world.after.follower_counts().tolist()
    at_ms = world.config.start_ms - GRAPH_AGE_HOURS * HOUR_MS
    for row, user_id in enumerate(accounts.ids.tolist()):
        profile = events_pb2.UserProfile(
            user_id=user_id,
            screen_name=accounts.screen_names[row],
            verified=bool(accounts.verified[row]),
            followers_count=followers[row],
            changed_at_ms=at_ms,
        )
        yield entry(user_id, events_pb2.GraphEvent(profile=profile), at_ms)


def _edge_events(
    world: World,
    kind: _KINDS.ValueType,
    viewers: NDArray[np.int64],
    targets: NDArray[np.int64],
    at_ms: NDArray[np.int64],
    *,
    removed: bool = False,
) -> list[Entry]:
    ids = world.accounts.ids
    make, wrap = events_pb2.GraphEdge, events_pb2.GraphEvent
    rows = zip(
        event_keys(ids[viewers]),
        ids[viewers].tolist(),
        ids[targets].tolist(),
        at_ms.tolist(),
        strict=True,
    )
    return [
        (
            key,
            wrap(
                edge=make(
                    kind=kind,
                    user_id=user,
                    target_user_id=target,
                    removed=removed,
                    changed_at_ms=at,
                )
            ).SerializeToString(),
            at,
        )
        for key, user, target, at in rows
    ]


def _muted_keywords(world: World, rng: np.random.Generator) -> Iterator[Entry]:
    muted = world.before.muted_keywords
    times = _old_times(world, len(muted), rng).tolist()
    for (row, word), at_ms in zip(muted, times, strict=True):
        user_id = int(world.accounts.ids[row])
        keyword = events_pb2.MutedKeyword(user_id=user_id, keyword=word, changed_at_ms=at_ms)
        yield entry(user_id, events_pb2.GraphEvent(muted_keyword=keyword), at_ms)


def _changed_relations(world: World) -> list[Entry]:
    """Follows, blocks and mutes that followed an impression; the latter two end a follow."""
    edge = events_pb2.GraphEdge
    kinds = {
        "follow_author": edge.KIND_FOLLOW,
        "block_author": edge.KIND_BLOCK,
        "mute_author": edge.KIND_MUTE,
    }
    entries: list[Entry] = []
    for name, kind in kinds.items():
        rows = np.flatnonzero(world.did[:, HEAD_INDEX[name]])
        viewers = world.impressions.viewers[rows]
        targets = world.posts.authors[world.impressions.posts[rows]]
        at_ms = acted_ms(world)[rows]
        entries += _edge_events(world, kind, viewers, targets, at_ms)
        if name != "follow_author":
            entries += _edge_events(
                world, edge.KIND_FOLLOW, viewers, targets, at_ms + 1, removed=True
            )
    return entries
