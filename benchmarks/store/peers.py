"""thunder beside a C kernel, a Rust store and Python objects, on the same requests in turns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Line, Timing, ratio, take_turns
from benchmarks.store.native import NativeStore, compiler_for
from benchmarks.store.object_store import ObjectStore
from benchmarks.store.workload import Request, World
from thunder.store import PostStore, Query

OURS: Final = "thunder"
FLOOR: Final = "C kernel"
RUST: Final = "Rust, the original's structure"
OBJECTS: Final = "Python objects"
NATIVE: Final = {FLOOR: "floor.c", RUST: "rust_peer.rs"}
RESULTS: Final = 1_200  # x-algorithm, MAX_POSTS_TO_RETURN
# Promised at JUDGED follows: how much slower than the floor, how much faster than the peers.
JUDGED: Final = 1_000
FLOOR_BAR, RUST_BAR, OBJECTS_BAR = 1.4, 15.0, 60.0
OBJECT_TURNS: Final = 24  # a quarter of a second each at 5,000 follows
RUST_TURNS: Final = 64

Ask = Callable[[Request], NDArray[np.uint64]]


@dataclass(frozen=True)
class Measured:
    timings: dict[str, dict[str, Timing]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def query_of(request: Request) -> Query:
    return Query(request.viewer_id, request.following_ids, request.excluded_ids, RESULTS)


def asked(store: PostStore) -> Ask:
    """Our own path: `PostStore.query`, lock and answer included."""

    def ask(request: Request) -> NDArray[np.uint64]:
        ids: NDArray[np.uint64] = store.query(query_of(request)).posts["post_id"]
        return ids

    return ask


def compare(
    store: PostStore,
    world: World,
    requests: dict[int, list[Request]],
    repeats: int,
    measured: Measured,
) -> None:
    """Takes the times of all that this machine can run. Two rounds, for memory's sake: the compiled
    peers, then the objects; ours takes part in both."""
    compiled = [name for name, source in NATIVE.items() if compiler_for(source)]
    for name in NATIVE.keys() - set(compiled):
        measured.notes.append(f"{name}: left out, its compiler is not on this machine")
    stores = {name: NativeStore(NATIVE[name], world) for name in compiled}
    peers = {name: _asking(peer) for name, peer in stores.items()}
    for follows, asked_for in requests.items():
        _round(store, peers, follows, asked_for, repeats, measured)
    for peer in stores.values():
        peer.close()
    objects = ObjectStore.of(world)
    gc.freeze()  # tens of millions of objects: no collection looks at them again
    for follows, asked_for in requests.items():
        _round(store, {OBJECTS: _asking(objects)}, follows, asked_for, repeats, measured)


def check_same(follows: int, expected: NDArray[np.uint64], found: dict[str, Any]) -> None:
    """AssertionError where a peer's list differs from ours."""
    for name, ids in found.items():
        if not np.array_equal(expected, ids):
            raise AssertionError(
                f"{name} gives {ids.size} posts for {follows} follows, ours {expected.size}, "
                "and they differ; a peer is timed only when its answers are the same"
            )


def _asking(peer: NativeStore | ObjectStore) -> Ask:
    return lambda request: peer.query(request, RESULTS)


def _round(
    store: PostStore,
    peers: dict[str, Ask],
    follows: int,
    requests: list[Request],
    repeats: int,
    measured: Measured,
) -> None:
    ours = asked(store)
    slow = OBJECTS in peers
    for request in requests[:OBJECT_TURNS] if slow else requests:
        found = {name: ask(request) for name, ask in peers.items()}
        check_same(follows, ours(request), found)
    contestants = {
        name: _next_request(ask, requests) for name, ask in ({OURS: ours} | peers).items()
    }
    turns = OBJECT_TURNS if slow else repeats
    seconds = take_turns(contestants, turns, most={RUST: RUST_TURNS, OBJECTS: OBJECT_TURNS})
    group = measured.timings.setdefault(f"{follows:,} follows", {})
    for name, spent in seconds.items():
        group.setdefault(name, Timing.of(spent))
    _judge(follows, seconds, measured)


def _next_request(ask: Ask, requests: Sequence[Request]) -> Callable[[], NDArray[np.uint64]]:
    """Asks the next of the requests at every call; all contestants see the same sequence."""
    turn = 0

    def call() -> NDArray[np.uint64]:
        nonlocal turn
        turn += 1
        return ask(requests[turn % len(requests)])

    return call


def _judge(follows: int, seconds: dict[str, list[float]], measured: Measured) -> None:
    what = f"store, {follows:,} follows: "
    ours = seconds[OURS]
    for name, spent in seconds.items():
        if name == OURS:
            continue
        shown = ratio(ours, spent) if name == FLOOR else ratio(spent, ours)
        label = "thunder's time over the C kernel's" if name == FLOOR else f"{name} over thunder"
        measured.figures[what + label] = round(shown, 2)
    if follows != JUDGED:
        return
    if FLOOR in seconds:
        over = ratio(ours, seconds[FLOOR])
        measured.lines.append(Line(f"{what}time over the C kernel's", over, FLOOR_BAR, "at most"))
    for name, bar in ((RUST, RUST_BAR), (OBJECTS, OBJECTS_BAR)):
        if name in seconds:
            times = ratio(seconds[name], ours)
            measured.lines.append(Line(f"{what}{name} over thunder", times, bar, "at least"))
