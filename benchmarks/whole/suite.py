"""The services as processes on the demo's world, with models of random weights.

The viewers asked for are those with the most posts to choose from: 1,200 candidates come from
accounts they follow, 1,000 from retrieval.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.whole.load import Questions
from foryou.children import Child, Children
from foryou.settings import deployment
from foryou.waiting import until_serving
from foryou.world import World, WorldConfig, generate
from foryou.world.events import write_world
from home_mixer.client import scored_posts_query
from service_kit.event_logs import open_sink

START_SECONDS_MAX, READY_SECONDS_MAX = 120.0, 300.0
PHOENIX_SERVICES = ("foryou.phoenix.v1.PredictionService", "foryou.phoenix.v1.RetrievalService")
EMBEDDED = {"KAFKA_BOOTSTRAP_SERVERS": "", "REDIS_URL": ""}
SEEN_IDS_SENT = 300  # what a client remembers to have shown
STEP = 1  # of checkpoints that were never trained


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the world and the model."""

    users: int = 2_000
    posts_per_user: float = 10.0
    sessions_per_user: float = 5.0
    viewers: int = 64
    preset: str = "mid"
    compute_dtype: str = "bfloat16"
    seed: int = 1

    @classmethod
    def quick(cls) -> Self:
        return cls(users=200, posts_per_user=3.0, viewers=8, preset="nano", compute_dtype="float32")

    def as_workload(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Suite:
    """What runs: process name → pid, home_mixer's addresses, and whom to ask for."""

    processes: Mapping[str, int]
    address: str
    metrics: str
    questions: Questions
    candidates: Mapping[str, int]


@asynccontextmanager
async def running_suite(directory: Path, sizes: Sizes) -> AsyncIterator[Suite]:
    """Everything is made, started and ready; CommandError when a part does not come up."""
    world = await asyncio.to_thread(_make, directory, sizes)
    sink = await open_sink(deployment(directory, kafka=False))
    try:
        await write_world(world, sink)
    finally:
        await sink.close()
    async with Children(directory) as children:
        started = await _start(children, directory)
        mixer = started["home-mixer"].said
        viewers, follows = _viewers(world, sizes.viewers)
        yield Suite(
            processes={name: service.child.pid for name, service in started.items()},
            address=mixer["grpc_address"],
            metrics=mixer["metrics_address"],
            questions=Questions([_question(world, viewer) for viewer in viewers]),
            candidates={"posts of followed accounts, least": follows},
        )


@dataclass(frozen=True, slots=True)
class _Service:
    child: Child
    said: Mapping[str, Any]


async def _start(children: Children, directory: Path) -> dict[str, _Service]:
    common = ["--data-dir", str(directory), "--grpc-port", "0", "--metrics-port", "0"]
    started: dict[str, _Service] = {}

    async def start(name: str, *more: str) -> None:
        child = await children.start(name, ["serve", name, *common, *more], dict(EMBEDDED))
        started[name] = _Service(child, await child.first_json(START_SECONDS_MAX))

    for name in ("thunder", "phoenix", "ingester"):
        await start(name)
    addresses = {name: one.said["grpc_address"] for name, one in started.items()}
    await start(
        "home-mixer",
        *("--thunder-address", addresses["thunder"]),
        *("--phoenix-address", addresses["phoenix"]),
    )
    for name, service in started.items():
        for grpc_service in PHOENIX_SERVICES if name == "phoenix" else ("",):
            address = service.said["grpc_address"]
            await until_serving(service.child, address, READY_SECONDS_MAX, grpc_service)
    return started


def _make(directory: Path, sizes: Sizes) -> World:
    """Both checkpoints on disk, and the world."""
    from phoenix import checkpoint as checkpoints  # it imports JAX
    from phoenix.config import ranker_preset, retrieval_preset
    from phoenix.ranker import Ranker
    from phoenix.retrieval import RetrievalModel

    types: dict[str, Any] = {"compute_dtype": sizes.compute_dtype}
    ranker = Ranker(ranker_preset(sizes.preset, **types))
    retrieval = RetrievalModel(retrieval_preset(sizes.preset, **types))
    for name, model in (("ranker", ranker), ("retrieval", retrieval)):
        print(f"{name}: drawing random weights", file=sys.stderr, flush=True)
        checkpoints.save(
            directory / "checkpoints" / name,
            step=STEP,
            config=model.config,
            params=model.init(sizes.seed),
            meta={"training": "none: random weights"},
            storage_dtype="float16",
        )
    return generate(
        WorldConfig(
            seed=sizes.seed,
            users=sizes.users,
            now_ms=time.time_ns() // 1_000_000,
            posts_per_user=sizes.posts_per_user,
            sessions_per_user=sizes.sessions_per_user,
        )
    )


def _viewers(world: World, count: int) -> tuple[list[int], int]:
    """Ids of those whose followed accounts posted most, and how many posts the last of them has."""
    posts = np.bincount(world.posts.authors, minlength=len(world.accounts.ids))
    follows = world.after.follows
    reachable = np.bincount(follows.viewers, posts[follows.targets], len(posts)).astype(np.int64)
    best = np.argsort(-reachable, kind="stable")[:count]
    return world.accounts.ids[best].tolist(), int(reachable[best[-1]])


def _question(world: World, viewer: int) -> Any:
    seen = world.seen_post_ids(viewer)[-SEEN_IDS_SENT:]
    return scored_posts_query(viewer, seen_ids=seen.tolist())
