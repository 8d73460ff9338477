"""The demo: a synthetic world, every service as a process, both models, one explained feed.

    world → event log → services follow it ∥ both trainings → models swapped in → feed → quality

What the world knows in secret (tastes, qualities) reaches no process: services and trainings see
the event log alone. The order above is also the order of `phases`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foryou.children import Child, Children
from foryou.errors import CommandError, UsageError
from foryou.judging import judge_feeds
from foryou.phases import Phase, Phases
from foryou.promises import broken_promises
from foryou.quality import Captured, choose_demo_viewer
from foryou.waiting import until_serving
from foryou.world import World, WorldConfig, generate
from foryou.world.events import write_world
from home_mixer.client import AsyncHomeMixerClient, FeedError, scored_posts_query
from protos import home_mixer_pb2
from service_kit.embedded_log import EmbeddedLogWriter

START_SECONDS_MAX = 60.0  # until a process tells its address; imports and nothing else
CATCH_UP_SECONDS_MAX = 180.0  # until the log is ingested, on a slow machine
SWAP_SECONDS_MAX = 180.0  # until a checkpoint is loaded and its programs are compiled
TRAIN_SECONDS_EXTRA = 180.0  # reading the log, imports and writing, beyond the training itself
# The towers need fewer steps than the ranker; while they compile in phoenix, the ranker goes on.
RETRIEVAL_SHARE = 0.55
FEED_SECONDS_MAX = 10.0
FEED_ATTEMPTS_SECONDS = 30.0
RANKER_SERVICE = "foryou.phoenix.v1.PredictionService"
RETRIEVAL_SERVICE = "foryou.phoenix.v1.RetrievalService"
POSTS_MIN = 20  # a shorter feed is a failure of the demo


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `foryou demo` was asked for."""

    data_dir: Path
    seed: int
    users: int
    train_seconds: float
    now_ms: int
    viewer_id: int | None = None
    judged_viewers: int = 200


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo shows; `response` is the explained feed of `viewer_id`."""

    world: World
    viewer_id: int
    response: home_mixer_pb2.ExplainResponse
    first_feed_seconds: float
    phases: tuple[Phase, ...]
    captured: Captured
    addresses: Mapping[str, str]
    training: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Service:
    child: Child
    address: str


async def run_demo(options: DemoOptions, children: Children, phases: Phases) -> DemoResult:
    """Everything up to the judged feeds; the children go on serving.

    Raises CommandError when a part fails, UsageError for a directory that is in use.
    """
    world = await _make_world(options, phases)
    viewer_id = _viewer(world, options.viewer_id)
    training = asyncio.create_task(_train(options, world, children, phases))
    try:
        services = await _serve(options, children, phases)
        trained = await training
    finally:
        training.cancel()
    with phases.phase("swap", "phoenix loads, compiles and swaps in both models"):
        await _ready(services["phoenix"], RANKER_SERVICE, SWAP_SECONDS_MAX)
        await _ready(services["phoenix"], RETRIEVAL_SERVICE, SWAP_SECONDS_MAX)
    address = services["home-mixer"].address
    async with AsyncHomeMixerClient(address, timeout_s=FEED_SECONDS_MAX) as client:
        with phases.phase("feed", f"fetching the feed of viewer {viewer_id}"):
            version = str(trained["ranker"]["model_version"])
            response = await _first_feed(client, world, viewer_id, version)
            _check_promises(world, viewer_id, response)
        first_feed_seconds = phases.elapsed_s()
        with phases.phase("quality", f"judging the feeds of {options.judged_viewers} viewers"):
            captured = await judge_feeds(client, world, options.judged_viewers)
    return DemoResult(
        world=world,
        viewer_id=viewer_id,
        response=response,
        first_feed_seconds=first_feed_seconds,
        phases=tuple(phases.done),
        captured=captured,
        addresses={name: service.address for name, service in services.items()},
        training=trained,
    )


async def _make_world(options: DemoOptions, phases: Phases) -> World:
    log_dir = options.data_dir / "log"
    if log_dir.exists():
        raise UsageError(
            f"--data-dir {options.data_dir} already holds an event log; choose an empty directory"
        )
    with phases.phase("world", f"making a world of {options.users} users"):
        config = WorldConfig(seed=options.seed, users=options.users, now_ms=options.now_ms)
        world = await asyncio.to_thread(generate, config)
    with phases.phase("log", "writing its events to the log"):
        counts = await asyncio.to_thread(_write, world, log_dir)
        phases.say(f"{counts} events, {len(world.impressions)} impressions")
    return world


def _write(world: World, log_dir: Path) -> int:
    writer = EmbeddedLogWriter(log_dir)
    try:
        return write_world(world, writer).total
    finally:
        writer.close_sync()


def _viewer(world: World, wanted: int | None) -> int:
    if wanted is None:
        return choose_demo_viewer(world)
    try:
        world.account_row(wanted)
    except KeyError as error:
        raise UsageError(
            f"--viewer {wanted} is no account of this world; try {choose_demo_viewer(world)}"
        ) from error
    return wanted


async def _serve(options: DemoOptions, children: Children, phases: Phases) -> dict[str, _Service]:
    """All four services, ready but for phoenix, which has no models yet."""
    with phases.phase("start", "starting thunder, phoenix, the ingester and home_mixer"):
        services = await _start_services(children, options.data_dir)
    with phases.phase("ingest", "thunder and the ingester catch up with the log"):
        for name in ("thunder", "ingester", "home-mixer"):
            await _ready(services[name])
    return services


async def _start_services(children: Children, data_dir: Path) -> dict[str, _Service]:
    """Starts all four; home_mixer last, for it is told where the others listen."""
    common = ["--data-dir", str(data_dir), "--grpc-port", "0"]
    started = {
        name: await children.start(name, ["serve", name, *common])
        for name in ("thunder", "phoenix", "ingester")
    }
    services = {name: await _announced(child) for name, child in started.items()}
    mixer = await children.start(
        "home-mixer",
        [
            *("serve", "home-mixer", *common),
            *("--thunder-address", services["thunder"].address),
            *("--phoenix-address", services["phoenix"].address),
        ],
    )
    services["home-mixer"] = await _announced(mixer)
    return services


async def _announced(child: Child) -> _Service:
    """A server says where it listens in its first line of standard output."""
    said = await child.first_json(START_SECONDS_MAX)
    address = said.get("grpc_address")
    if not isinstance(address, str):
        raise child.failed(f"announced {said} without a grpc_address")
    return _Service(child, address)


async def _ready(
    service: _Service, name: str = "", timeout_s: float = CATCH_UP_SECONDS_MAX
) -> None:
    await until_serving(service.child, service.address, timeout_s, name)


async def _train(
    options: DemoOptions, world: World, children: Children, phases: Phases
) -> dict[str, dict[str, Any]]:
    """Trains both models at once, each in its own process; the results by model."""
    seconds = {
        "ranker": options.train_seconds,
        "retrieval": options.train_seconds * RETRIEVAL_SHARE,
    }

    async def one(model: str) -> dict[str, Any]:
        with phases.phase(f"train {model}", f"training the {model} for {seconds[model]:.0f} s"):
            child = await children.start(
                f"train-{model}",
                [
                    *("train", model, "--json", "--data-dir", str(options.data_dir)),
                    *("--seconds", f"{seconds[model]:g}", "--seed", str(options.seed)),
                    *("--until-ms", str(world.config.cutoff_ms)),
                ],
            )
            return await child.finish(seconds[model] + TRAIN_SECONDS_EXTRA)

    results = await asyncio.gather(one("ranker"), one("retrieval"))
    return dict(zip(("ranker", "retrieval"), results, strict=True))


async def _first_feed(
    client: AsyncHomeMixerClient, world: World, viewer_id: int, model_version: str
) -> home_mixer_pb2.ExplainResponse:
    """The feed once the new ranker scores it; asked again while a part still warms up."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + FEED_ATTEMPTS_SECONDS
    query = scored_posts_query(viewer_id, seen_ids=world.seen_post_ids(viewer_id).tolist())
    problem = ""
    while loop.time() < end_s:
        try:
            answer = await client.explain(query)
        except FeedError as error:
            problem = str(error)
        else:
            feed = answer.response
            problem = _problem(feed, model_version)
            if not problem:
                return answer
        await asyncio.sleep(0.2)
    raise CommandError(f"no good feed within {FEED_ATTEMPTS_SECONDS:.0f} s: {problem}")


def _check_promises(world: World, viewer_id: int, response: home_mixer_pb2.ExplainResponse) -> None:
    post_ids = [post.post_id for post in response.response.scored_posts]
    broken = broken_promises(world, viewer_id, np.array(post_ids, np.int64))
    if broken:
        raise CommandError(f"the feed holds what it must not: {'; '.join(broken)}")


def _problem(feed: home_mixer_pb2.ScoredPostsResponse, model_version: str) -> str:
    """Why this is not yet the feed to show; empty when it is."""
    if feed.degraded_reasons:
        return f"degraded: {', '.join(feed.degraded_reasons)}"
    if model_version not in feed.model_version:
        return f"scored by model {feed.model_version!r}, expected {model_version!r}"
    if len(feed.scored_posts) < POSTS_MIN:
        return f"{len(feed.scored_posts)} posts, expected at least {POSTS_MIN}"
    return ""
