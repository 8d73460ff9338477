"""Thunder on the wire: answers written and read, and calls a second of one server core.

1. An answer of 1,200 posts written: our kernel, and a message object a post; the same bytes.
2. The same answer read into candidates' columns: ours, and a message object a post.
3. Calls over gRPC with the followed and excluded ids of a real request, the server alone on one
   core, the load on another: thunder; the same building message objects; a Python object a post in
   store and answer; gRPC's thread-a-call server around thunder's parts; and a server that returns
   fixed bytes, which is the transport's floor. All but the last give the same answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness import Line, Report, Timing, ratio, sized
from benchmarks.store.workload import Request, World, make_requests, make_world
from benchmarks.wire import calls, codec
from benchmarks.wire.server import KINDS, MESSAGES, OBJECTS, THUNDER
from protos import thunder_pb2

POSTS, POSTS_QUICK = 1_000_000, 3_000
POSTS_AN_AUTHOR = 10
FOLLOWS, FOLLOWS_QUICK = 1_000, 30
REQUESTS, REQUESTS_QUICK = 50, 3
ROUNDS, ROUNDS_QUICK = 5, 1
SECONDS, SECONDS_QUICK = 2.0, 0.1
ANSWER_POSTS = 1_200  # x-algorithm, MAX_POSTS_TO_RETURN
CODEC_REPEATS, CODEC_REPEATS_QUICK = 100, 3
IN_FLIGHT = 8
ENCODE_BAR = 8.0
MESSAGES_BAR, OBJECTS_BAR = 2.5, 40.0  # at FOLLOWS alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes of the store and of the requests, rounds, and which servers take part."""
    parser.add_argument("--posts", type=int, help=f"in the store; default {POSTS}")
    parser.add_argument("--follows", type=int, help=f"authors a request names; default {FOLLOWS}")
    parser.add_argument("--rounds", type=int, help=f"turns of every server; default {ROUNDS}")
    parser.add_argument("--seconds", type=float, help="of load on a server in a round")
    parser.add_argument("--servers", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=1)


def measure(options: argparse.Namespace) -> Report:
    """AssertionError when contestants answer differently."""
    quick = options.quick
    posts = sized(options, "posts", POSTS, POSTS_QUICK)
    follows = sized(options, "follows", FOLLOWS, FOLLOWS_QUICK)
    rounds = sized(options, "rounds", ROUNDS, ROUNDS_QUICK)
    seconds = sized(options, "seconds", SECONDS, SECONDS_QUICK)
    rng = np.random.default_rng(options.seed)
    world = make_world(posts, max(2 * follows, posts // POSTS_AN_AUTHOR), rng)
    asked = make_requests(world, follows, REQUESTS_QUICK if quick else REQUESTS, rng)
    timings, lines = _codec(world, CODEC_REPEATS_QUICK if quick else CODEC_REPEATS)
    figures: dict[str, Any] = {}
    if options.servers:
        with calls.servers(options.servers, world, [_message(r) for r in asked]) as started:
            measured = calls.measure_calls(started, rounds, seconds, IN_FLIGHT)
            sizes = [len(answer) for answer in started[THUNDER].answers.values()]
        timings |= _call_timings(measured)
        lines += _call_lines(measured, follows)
        figures["answer bytes"] = int(np.median(sizes))
        figures["calls a second of one core"] = _rates(measured)
    workload = {"posts": posts, "follows": follows, "requests": len(asked), "rounds": rounds}
    return Report("wire", workload, timings, lines, figures, calls.notes())


def _codec(world: World, repeats: int) -> tuple[dict[str, dict[str, Timing]], list[Line]]:
    found = codec.newest(world, ANSWER_POSTS)
    spent = codec.measure_codec(found, repeats)
    group = f"answer of {found.posts.size:,} posts"
    times = ratio(spent[codec.WRITE_PEER], spent[codec.WRITE_OURS])
    line = Line(f"{group}: message objects / kernel", times, ENCODE_BAR, "at least")
    return {group: {name: Timing.of(runs, "us") for name, runs in spent.items()}}, [line]


def _call_timings(measured: Mapping[str, calls.Measured]) -> dict[str, dict[str, Timing]]:
    return {
        f"calls, {IN_FLIGHT} in flight": {k: Timing.of(m.latencies_s) for k, m in measured.items()},
        "calls, 1 in flight": {k: Timing.of(m.alone_s) for k, m in measured.items()},
    }


def _call_lines(measured: Mapping[str, calls.Measured], follows: int) -> list[Line]:
    if follows != FOLLOWS:
        return []  # the lines are promised for this size alone
    ours = measured[THUNDER].rate
    return [
        Line(
            f"calls a second, {FOLLOWS:,} follows: thunder / {kind}", ours / m.rate, bar, "at least"
        )
        for kind, bar in ((MESSAGES, MESSAGES_BAR), (OBJECTS, OBJECTS_BAR))
        if (m := measured.get(kind)) is not None
    ]


def _rates(measured: Mapping[str, calls.Measured]) -> dict[str, Any]:
    return {
        kind: {"median": m.rate, "least": min(m.rates), "most": max(m.rates)}
        for kind, m in measured.items()
    }


def _message(request: Request) -> bytes:
    """As home_mixer asks."""
    return thunder_pb2.GetInNetworkPostsRequest(
        user_id=request.viewer_id,
        following_user_ids=request.following_ids.tolist(),
        max_results=ANSWER_POSTS,
        exclude_post_ids=request.excluded_ids.tolist(),
        algorithm="default",
        share_index=0,
        share_count=1,
    ).SerializeToString()
