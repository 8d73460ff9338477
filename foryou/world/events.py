"""The world as events: what services are given, in the order of time.

Nothing in the event files reads a taste or a quality. Every event is keyed as its topic asks and
carries the moment it happened; `write_world` puts them into the log that the services follow, be
it Kafka or a directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from foryou.world.action_events import action_events, served_events
from foryou.world.graph_events import graph_events
from foryou.world.post_events import post_events
from foryou.world.world import World
from service_kit.event_log import (
    TOPIC_ACTIONS,
    TOPIC_GRAPH,
    TOPIC_POSTS,
    TOPIC_SERVED,
    Entry,
    EventSink,
)

_BATCH = 50_000  # events per append, bounds the memory of the encoded log


@dataclass(frozen=True, slots=True)
class WrittenCounts:
    """How many events each topic received."""

    posts: int
    graph: int
    actions: int
    served: int

    @property
    def total(self) -> int:
        return self.posts + self.graph + self.actions + self.served


async def write_world(world: World, sink: EventSink) -> WrittenCounts:
    """Appends every event of the world, topic by topic: what actions refer to comes first.

    On return everything is durable. Raises what the sink raises.
    """
    graph = await _append(sink, TOPIC_GRAPH, graph_events, world)
    posts = await _append(sink, TOPIC_POSTS, post_events, world)
    served = await _append(sink, TOPIC_SERVED, served_events, world)
    actions = await _append(sink, TOPIC_ACTIONS, action_events, world)
    await sink.flush()
    return WrittenCounts(posts=posts, graph=graph, actions=actions, served=served)


async def _append(
    sink: EventSink, topic: str, make: Callable[[World], list[Entry]], world: World
) -> int:
    entries = await asyncio.to_thread(_in_order, make, world)
    for start in range(0, len(entries), _BATCH):
        await sink.append_many(topic, entries[start : start + _BATCH])
    return len(entries)


def _in_order(make: Callable[[World], list[Entry]], world: World) -> list[Entry]:
    """By time; stable, so that events of one moment keep their order."""
    return sorted(make(world), key=lambda entry: entry[2])
