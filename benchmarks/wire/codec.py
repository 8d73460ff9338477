"""An answer written and read in one process: ours, and a protobuf message object a post."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.harness import take_turns
from benchmarks.store.workload import World
from benchmarks.wire.messages import columns_with_objects, encode_with_objects
from home_mixer.clients.thunder_answers import decode_answer
from home_mixer.sources.thunder_source import light_post_columns
from thunder.answers import encode_answer
from thunder.store import Found

WRITE_OURS: Final = "rows to bytes, kernel"
WRITE_PEER: Final = "rows to bytes, message objects"
READ_OURS: Final = "bytes to columns, numpy"
READ_PEER: Final = "bytes to columns, message objects"


def newest(world: World, count: int) -> Found:
    """The newest posts of a world as a query finds them."""
    rows = np.arange(world.posts.size - 1, -1, -1)[:count]
    return Found(world.posts[rows], world.flags[rows], False, count, {})


def measure_codec(found: Found, repeats: int) -> dict[str, list[float]]:
    """Seconds by contestant. AssertionError where two of them give different results."""
    message = check_same_bytes(encode_answer(found), encode_with_objects(found))
    check_same_columns(columns_of(message), columns_with_objects(message))
    return take_turns(
        {
            WRITE_OURS: lambda: encode_answer(found),
            WRITE_PEER: lambda: encode_with_objects(found),
            READ_OURS: lambda: columns_of(message),
            READ_PEER: lambda: columns_with_objects(message),
        },
        repeats,
    )


def columns_of(message: bytes) -> dict[str, Any]:
    """As home_mixer's source makes them of one answer."""
    return light_post_columns(decode_answer(message).posts)


def check_same_bytes(ours: bytes, peers: bytes) -> bytes:
    """Returns them."""
    if ours != peers:
        raise AssertionError(f"the answers' bytes differ: {len(ours)} of ours, {len(peers)}")
    return ours


def check_same_columns(ours: dict[str, Any], peers: dict[str, Any]) -> None:
    different = [name for name in ours | peers if not _same(ours.get(name), peers.get(name))]
    if different:
        raise AssertionError(f"the columns differ: {', '.join(different)}")


def _same(ours: Any, peers: Any) -> bool:
    if ours is None or peers is None:
        return False
    return ours.dtype == peers.dtype and np.array_equal(ours, peers)
