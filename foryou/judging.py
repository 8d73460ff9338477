"""Fetches the explained feeds of many viewers and judges them by the world's truth."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from foryou.errors import CommandError
from foryou.quality import (
    Captured,
    Judged,
    captured_engagement,
    choose_viewers,
    expected_values,
    popularity,
)
from foryou.world import World
from home_mixer.client import AsyncHomeMixerClient, scored_posts_query
from home_mixer.params import RankingParams, load_params
from protos import home_mixer_pb2

CONCURRENT = 2  # requests in flight; more would only queue on a small machine
ATTEMPTS, PAUSE_SECONDS = 20, 0.5  # where a machine is so busy that a part misses its deadline
ELIGIBLE = frozenset({"served", "not_selected", "truncated"})  # passed every filter that judged it


async def judge_feeds(
    client: AsyncHomeMixerClient, world: World, viewers: int, params: RankingParams | None = None
) -> Captured:
    """Captured engagement of the service's feeds, over viewers who engaged after the cutoff."""
    params = params or load_params()
    popular = popularity(world)
    slots = asyncio.Semaphore(CONCURRENT)

    async def judge(viewer_id: int) -> Judged:
        async with slots:
            answer = await _whole_feed(client, world, viewer_id)
        return await asyncio.to_thread(judged, world, viewer_id, answer, popular, params)

    chosen = choose_viewers(world, viewers).tolist()
    return captured_engagement(await asyncio.gather(*(judge(viewer) for viewer in chosen)))


async def _whole_feed(
    client: AsyncHomeMixerClient, world: World, viewer_id: int
) -> home_mixer_pb2.ExplainResponse:
    """A feed that nothing was missing from; a busy machine gets a few attempts."""
    query = scored_posts_query(viewer_id, seen_ids=world.seen_post_ids(viewer_id).tolist())
    reasons = ""
    for _ in range(ATTEMPTS):
        answer = await client.explain(query)
        reasons = ", ".join(answer.response.degraded_reasons)
        if not reasons:
            return answer
        await asyncio.sleep(PAUSE_SECONDS)
    raise CommandError(f"the feed of viewer {viewer_id} is degraded ({reasons}): no fair judgement")


def judged(
    world: World,
    viewer_id: int,
    answer: home_mixer_pb2.ExplainResponse,
    popular: NDArray[np.float64],
    params: RankingParams,
) -> Judged:
    """The eligible candidates of one explained feed, with the keys of every order."""
    eligible = [candidate for candidate in answer.candidates if candidate.fate in ELIGIBLE]
    post_ids = np.array([candidate.post_id for candidate in eligible], np.int64)
    rows = world.post_rows(post_ids)
    return Judged(
        values=expected_values(world, viewer_id, post_ids, params),
        ours=np.array([_our_key(candidate) for candidate in eligible]),
        newest=world.posts.created_ms[rows],
        popularity=popular[rows],
    )


def _our_key(candidate: home_mixer_pb2.CandidateFate) -> float:
    """Served posts in their order, then the rest by score."""
    if candidate.fate == "served":
        return 1e9 - candidate.position
    return candidate.score
