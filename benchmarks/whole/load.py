"""Questions to home_mixer, one after another or at a fixed rate whatever the answers do."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from home_mixer.client import AsyncHomeMixerClient, FeedError
from protos import home_mixer_pb2 as pb


@dataclass(frozen=True, slots=True)
class Asked:
    """One feed: seconds from when it was due, and what was wrong with it ("" for nothing)."""

    seconds: float
    problem: str


class Questions:
    """Requests of several viewers in turn; endless."""

    def __init__(self, requests: Sequence[pb.ScoredPostsQuery]) -> None:
        self._turns: Iterator[pb.ScoredPostsQuery] = itertools.cycle(requests)

    def __next__(self) -> pb.ScoredPostsQuery:
        return next(self._turns)


async def ask_one_by_one(
    client: AsyncHomeMixerClient, questions: Questions, count: int
) -> list[Asked]:
    """Closed loop: the next is asked when the last has its answer."""
    loop = asyncio.get_running_loop()
    return [await _ask(client, next(questions), loop.time()) for _ in range(count)]


async def ask_at_rate(
    client: AsyncHomeMixerClient, questions: Questions, per_s: float, seconds: float
) -> list[Asked]:
    """Open loop: `per_s · seconds` questions, each at its moment, answered or not."""
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    asking = []
    for number in range(max(2, round(per_s * seconds))):
        due_s = started_s + number / per_s
        await asyncio.sleep(due_s - loop.time())
        asking.append(asyncio.create_task(_ask(client, next(questions), due_s)))
    return await asyncio.gather(*asking)


async def _ask(client: AsyncHomeMixerClient, query: pb.ScoredPostsQuery, due_s: float) -> Asked:
    problem = ""
    try:
        feed = await client.send(query)
        problem = ", ".join(feed.degraded_reasons) or ("" if feed.posts else "no posts")
    except FeedError as error:
        problem = error.code
    return Asked(asyncio.get_running_loop().time() - due_s, problem)
