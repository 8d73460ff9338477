"""The world as events: what services are given, in the order of time.

Nothing in the event files reads a taste or a quality. Every event is keyed as its topic asks and
carries the moment it happened; `write_world` puts them into a log that the services follow.
"""

from __future__ import annotations

from dataclasses import dataclass

from foryou.world.action_events import action_events, served_events
from foryou.world.graph_events import graph_events
from foryou.world.post_events import post_events
from foryou.world.world import World
from service_kit.embedded_log import EmbeddedLogWriter
from service_kit.event_log import (
    TOPIC_ACTIONS,
    TOPIC_GRAPH,
    TOPIC_POSTS,
    TOPIC_SERVED,
    Entry,
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


def write_world(world: World, writer: EmbeddedLogWriter) -> WrittenCounts:
    """Appends every event of the world, topic by topic: what actions refer to comes first."""
    graph = _append(writer, TOPIC_GRAPH, graph_events(world))
    posts = _append(writer, TOPIC_POSTS, post_events(world))
    served = _append(writer, TOPIC_SERVED, served_events(world))
    actions = _append(writer, TOPIC_ACTIONS, action_events(world))
    return WrittenCounts(posts=posts, graph=graph, actions=actions, served=served)


def _append(writer: EmbeddedLogWriter, topic: str, entries: list[Entry]) -> int:
    entries.sort(key=lambda entry: entry[2])  # stable: events of one moment keep their order
    for start in range(0, len(entries), _BATCH):
        writer.append_many_sync(topic, entries[start : start + _BATCH])
    return len(entries)
