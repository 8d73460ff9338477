"""What the event files share: keys, and when actions happened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foryou.world.world import World
from protos import events_pb2
from service_kit.event_log import Entry


def event_keys(ids: NDArray[np.int64]) -> list[bytes]:
    """`event_key` of many ids at once."""
    data = ids.astype(">u8").tobytes()
    return [data[start : start + 8] for start in range(0, len(data), 8)]


def entry(key_id: int, event: events_pb2.PostEvent | events_pb2.GraphEvent, at_ms: int) -> Entry:
    """One event as the log takes it."""
    return key_id.to_bytes(8, "big"), event.SerializeToString(), at_ms


def acted_ms(world: World) -> NDArray[np.int64]:
    """[I] when the viewer left each post; its actions happened then, at most `now`."""
    stayed = np.minimum(world.seconds * 1_000, 10_000).astype(np.int64)
    return np.asarray(np.minimum(world.impressions.seen_ms + stayed, world.config.now_ms))
