"""Many viewers ask for feeds at once and write down what each of them got, and how soon.

async with FeedLoad(addresses, viewers, clients=4, deadline_s=1.0) as load:
    await load.until(lambda: load.answered >= 100, "answers come")
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from home_mixer.client import AsyncHomeMixerClient, Feed, FeedError

PAUSE_S = 0.1  # between two questions of a client: a steady load, not a flood
WAIT_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One question's end. ``feed`` None: it failed, with ``error``."""

    viewer_id: int
    asked_at_s: float
    seconds: float
    feed: Feed | None
    error: str = ""

    @property
    def is_whole(self) -> bool:
        return self.feed is not None and not self.feed.degraded_reasons


class FeedLoad:
    """``clients`` questions at a time, viewers in turn."""

    def __init__(
        self, address: str, viewers: Sequence[int], *, clients: int, deadline_s: float
    ) -> None:
        self.answers: list[Answer] = []
        self._address, self._deadline_s = address, deadline_s
        self._viewers = itertools.cycle(viewers)
        self._clients = clients
        self._tasks: list[asyncio.Task[None]] = []
        self._more = asyncio.Event()

    @property
    def answered(self) -> int:
        return len(self.answers)

    async def until(
        self, reached: Callable[[], bool], why: str, seconds_max: float = WAIT_S_MAX
    ) -> None:
        """Waits for an answer after which ``reached`` is true; AssertionError in time."""
        end_s = time.monotonic() + seconds_max
        while not reached():
            self._more.clear()
            left_s = end_s - time.monotonic()
            last = self.answers[-1] if self.answers else None
            said = last and (last.error or (last.feed and last.feed.degraded_reasons))
            assert left_s > 0, f"waited {seconds_max} s until {why}; the last answer: {said}"
            await asyncio.wait([asyncio.ensure_future(self._more.wait())], timeout=left_s)
            for task in self._tasks:
                assert not task.done(), f"a client of the load ended: {task.exception()}"

    async def _ask(self) -> None:
        async with AsyncHomeMixerClient(self._address, timeout_s=self._deadline_s) as client:
            while True:
                viewer, asked_at_s = next(self._viewers), time.monotonic()
                feed, error = None, ""
                try:
                    feed = await client.get_scored_posts(viewer)
                except FeedError as failed:
                    error = str(failed)
                seconds = time.monotonic() - asked_at_s
                self.answers.append(Answer(viewer, asked_at_s, seconds, feed, error))
                self._more.set()
                await asyncio.sleep(PAUSE_S)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self._clients)]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
