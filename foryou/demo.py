"""The demo: a synthetic world, every service, both models, one explained feed.

    world → events → services follow them ∥ both trainings → models swapped in → feed → quality
                                                                                       → served

Its services are its own processes (`LocalServices`) or run already (`RunningServices`). What the
world knows in secret (tastes, qualities) reaches no process: services and trainings see the events
alone. The order above is also the order of `phases`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from foryou.children import Children
from foryou.errors import CommandError, UsageError
from foryou.judging import judge_feeds
from foryou.phases import Phase, Phases
from foryou.promises import broken_promises
from foryou.quality import Captured, choose_demo_viewer, choose_viewers
from foryou.world import World, WorldConfig, generate
from foryou.world.events import write_world
from home_mixer.client import AsyncHomeMixerClient, FeedError, scored_posts_query
from protos import home_mixer_pb2
from service_kit.event_logs import open_sink
from service_kit.settings import ServiceSettings

TRAIN_SECONDS_EXTRA = 180.0  # reading the log, imports and writing, beyond the training itself
# The towers need fewer steps than the ranker; while they compile in phoenix, the ranker goes on.
RETRIEVAL_SHARE = 0.55
FEED_SECONDS_MAX = 10.0
SERVED_VIEWERS = 24  # enough that `foryou eval skew` meets short and long histories
FEED_ATTEMPTS_SECONDS = 120.0  # a machine that also compiles and trains is slow at first
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


class Services(Protocol):
    """The suite that the demo loads, trains and asks."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What a training needs beside this process's environment, to read the same events."""
        ...

    async def prepare(self) -> ServiceSettings:
        """Where the events go; UsageError when there are some already."""
        ...

    async def caught_up(self) -> Mapping[str, str]:
        """Returns the addresses, home-mixer's among them, once all events are handled."""
        ...

    async def swapped(self) -> None:
        """Returns once phoenix serves both models."""
        ...


async def run_demo(
    options: DemoOptions, services: Services, children: Children, phases: Phases
) -> DemoResult:
    """Everything up to the judged feeds; the services go on serving.

    Raises CommandError when a part fails, UsageError for a log that is in use.
    """
    settings = await services.prepare()
    world = await _make_world(options, settings, phases)
    viewer_id = _viewer(world, options.viewer_id)
    training = asyncio.create_task(_train(options, world, services, children, phases))
    try:
        addresses = await services.caught_up()
        trained = await training
    finally:
        training.cancel()
    with phases.phase("swap", "phoenix loads, compiles and swaps in both models"):
        await services.swapped()
    async with AsyncHomeMixerClient(addresses["home-mixer"], timeout_s=FEED_SECONDS_MAX) as client:
        with phases.phase("feed", f"fetching the feed of viewer {viewer_id}"):
            version = str(trained["ranker"]["model_version"])
            response = await _first_feed(client, world, viewer_id, version)
            _check_promises(world, viewer_id, response)
        first_feed_seconds = phases.elapsed_s()
        with phases.phase("quality", f"judging the feeds of {options.judged_viewers} viewers"):
            captured = await judge_feeds(client, world, options.judged_viewers)
        with phases.phase("serve", f"serving a feed to {SERVED_VIEWERS} other viewers"):
            phases.say(await _serve_some(client, world, viewer_id))
    return DemoResult(
        world=world,
        viewer_id=viewer_id,
        response=response,
        first_feed_seconds=first_feed_seconds,
        phases=tuple(phases.done),
        captured=captured,
        addresses=addresses,
        training=trained,
    )


async def _make_world(options: DemoOptions, settings: ServiceSettings, phases: Phases) -> World:
    with phases.phase("world", f"making a world of {options.users} users"):
        config = WorldConfig(seed=options.seed, users=options.users, now_ms=options.now_ms)
        world = await asyncio.to_thread(generate, config)
    with phases.phase("log", "writing its events to the log"):
        sink = await open_sink(settings)
        try:
            counts = await write_world(world, sink)
        finally:
            await sink.close()
        phases.say(f"{counts.total} events, {len(world.impressions)} impressions")
    return world


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


async def _train(
    options: DemoOptions, world: World, services: Services, children: Children, phases: Phases
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
                dict(services.environment),
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


async def _serve_some(client: AsyncHomeMixerClient, world: World, viewer_id: int) -> str:
    """Feeds that count as served, for the log; the viewer of the demo keeps a fresh one. How many
    there are in the end: a busy machine may refuse some, and nothing depends on any of them."""
    viewers = [v for v in choose_viewers(world, SERVED_VIEWERS).tolist() if v != viewer_id]
    failed = []
    for viewer in viewers:
        try:
            await client.get_scored_posts(viewer, seen_ids=world.seen_post_ids(viewer).tolist())
        except FeedError as error:
            failed.append(str(error))
    served = f"{len(viewers) - len(failed)} feeds served"
    return f"{served}, {len(failed)} failed: {failed[0]}" if failed else served


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
