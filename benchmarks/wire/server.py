"""One contestant behind gRPC in a process of its own, as `benchmarks.wire.calls` starts it.

All but `thunder, sync` run under what runs thunder (`service_kit.server`: interceptors, health,
reflection). DIR holds posts.npy, flags.npy, dead.npy, now_ms.npy and, for `fixed`,
answer.bin. Standard output has the server's address first and {"ready": true} once it is filled;
SIGTERM ends it, and so does the end of its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np

from benchmarks.store.object_store import ObjectStore
from benchmarks.store.workload import World
from benchmarks.wire.messages import encode_objects, encode_with_objects
from protos import thunder_pb2
from service_kit.metrics import Metrics
from service_kit.readiness import Readiness
from service_kit.server import run_server
from thunder.answers import authors_and_replies, encode_answer
from thunder.metrics import ThunderMetrics
from thunder.requests import parse_request
from thunder.service import SERVICE_NAME, InNetworkPosts
from thunder.settings import ThunderSettings
from thunder.store import Found, PostStore
from thunder.warm_up import warm_up

THUNDER, MESSAGES, OBJECTS, FIXED, SYNC = KINDS = (
    "thunder",
    "thunder with message objects",
    "object store",
    "fixed bytes",
    "thunder, sync server",
)
Request = thunder_pb2.GetInNetworkPostsRequest
METHOD: Final = f"/{SERVICE_NAME}/GetInNetworkPosts"
INSERTED_AT_ONCE: Final = 100_000
Answer = Callable[[Any, Any], Any]


class StandingClock:
    """The posts' day stands still, so that every answer stays the same; deadlines run."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Arguments KIND DIR and perhaps --core."""
    parser = argparse.ArgumentParser(prog="benchmarks.wire.server", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--core", type=int, help="the only one that it may use")
    options = parser.parse_args(arguments)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if options.kind == SYNC:
        return _serve_in_threads(_filled_store(options.directory))
    return asyncio.run(_serve(options.kind, options.directory))


def _end_with_parent() -> None:
    """A benchmark that is killed leaves no server behind: its end of the pipe closes."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(kind: str, directory: Path) -> int:
    settings = ThunderSettings(grpc_port=0, metrics_port=-1, log_level="ERROR")
    metrics, readiness = Metrics("thunder"), Readiness()
    add = _adder(kind, directory, settings, metrics, readiness)

    def register(server: grpc.aio.Server) -> list[str]:
        add(server)
        return [SERVICE_NAME]

    async def say_ready() -> None:
        readiness.set(SERVICE_NAME, True)
        print(json.dumps({"ready": True}), flush=True)

    return await run_server(
        settings,
        name="thunder",
        register=register,
        readiness=readiness,
        metrics=metrics,
        on_start=say_ready,
    )


def _adder(
    kind: str, directory: Path, settings: ThunderSettings, metrics: Metrics, readiness: Readiness
) -> Callable[[grpc.aio.Server], None]:
    """What adds the contestant's one method to a server."""
    if kind == FIXED:
        message = (directory / "answer.bin").read_bytes()

        async def answer(request: bytes, context: Any) -> bytes:
            return message

        return lambda server: _add(server, answer, None)
    if kind == OBJECTS:
        return lambda server: _add(server, _object_answers(directory), Request.FromString)
    service = InNetworkPosts(
        _filled_store(directory),
        _clock(directory),
        ThunderMetrics(metrics),
        readiness,
        max_concurrent_requests=settings.max_concurrent_requests,
        query_threads=settings.query_threads,
        request_timeout_ms=settings.request_timeout_ms,
        encode=encode_answer if kind == THUNDER else encode_with_objects,
    )
    return service.add_to


def _object_answers(directory: Path) -> Answer:
    """Without thunder's admission, deadlines and metrics, which its peer is spared."""
    store = ObjectStore.of(_world(directory))
    threads = ThreadPoolExecutor(ThunderSettings().query_threads)

    def work(request: Request) -> bytes:
        query: Any = parse_request(request)
        ids = store.query(query, query.results_max)
        posts = [store.posts[post_id] for post_id in ids.tolist()]
        return encode_objects(posts, authors_scanned=query.following_ids.size)

    async def answer(request: Request, context: Any) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(threads, work, request)

    return answer


def _serve_in_threads(store: PostStore) -> int:
    """gRPC's thread-a-call server around the same parts: what `grpc.aio` is measured against.
    Without admission, deadlines, metrics, health and drain."""

    def answer(request: Request, context: Any) -> bytes:
        found: Found = store.query(parse_request(request))
        authors_and_replies(found)
        return encode_answer(found)

    threads = ThreadPoolExecutor(ThunderSettings().query_threads)
    server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
    _add(server, answer, Request.FromString)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(json.dumps({"grpc_address": f"127.0.0.1:{port}"}), flush=True)
    print(json.dumps({"ready": True}), flush=True)
    server.wait_for_termination()  # SIGTERM ends the process as it stands
    return 0


def _add(server: Any, answer: Answer, parse: Callable[[bytes], Any] | None) -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=parse)
    name = METHOD.rpartition("/")[2]
    server.add_registered_method_handlers(SERVICE_NAME, {name: handler})


def _filled_store(directory: Path) -> PostStore:
    world, clock = _world(directory), _clock(directory)
    warm_up(clock)
    store = PostStore(clock, posts_max=world.posts.size)
    for begin in range(0, world.posts.size, INSERTED_AT_ONCE):
        end = begin + INSERTED_AT_ONCE
        store.insert(world.posts[begin:end], world.flags[begin:end])
    dead_ids = world.posts["post_id"][world.dead]
    times_ms = np.full(dead_ids.size, clock.now_ms(), np.int64)
    store.apply_statuses((dead_ids, times_ms, np.ones(dead_ids.size, np.uint8)))
    return store


def _clock(directory: Path) -> StandingClock:
    return StandingClock(int(np.load(directory / "now_ms.npy")))


def _world(directory: Path) -> World:
    """Without what only makes requests."""
    names = ("posts.npy", "flags.npy", "dead.npy")
    posts, flags, dead = (np.load(directory / name) for name in names)
    return World(posts, flags, dead, np.zeros(0, np.uint64), np.zeros(0), extra=0)
