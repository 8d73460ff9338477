"""Queries while another thread inserts 20,000 posts a second and trims what is too old.

Event time runs with the posts: each brings the clock forward by as much as posts of a full store
lie apart, so that trimming has as much to drop as comes in. Quiet and busy stretches take turns.
Every answer's moment is known (time, and between which two writes): a sample of them is computed
again by a plain oracle.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Line, Timing
from benchmarks.store.oracle import Oracle
from benchmarks.store.peers import RESULTS, Measured, query_of
from benchmarks.store.workload import Request, World
from service_kit.clock import ManualClock
from thunder.store import WRITTEN_AT_ONCE, PostStore

POSTS_PER_SECOND: Final = 20_000
BATCH_POSTS: Final = 1_000  # what ingestion flushes at this rate, twenty times a second
TRIM_SECONDS: Final = 1.0  # product: 120; so each stretch has trims
P99_BAR: Final = 2.0  # busy over quiet
CHECKED: Final = 8  # answers of a stretch computed again


@dataclass(frozen=True)
class Answer:
    request: Request
    now_ms: int
    seen_before: int  # posts written when the query began and when it had ended
    seen_after: int
    ids: NDArray[np.uint64]


class Writer:
    """Inserts the world's posts from ``position`` on, at a steady rate, and trims."""

    def __init__(self, store: PostStore, clock: ManualClock, world: World, position: int) -> None:
        self._store, self._clock, self._world = store, clock, world
        self.position = position  # posts before it are written
        self.beyond = position  # posts from it on are not
        self.late_s = 0.0
        self.trimmed = 0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._stop.clear()
        work = (self._insert_for_ever, self._trim_for_ever)
        self._threads = [threading.Thread(target=target) for target in work]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _insert_for_ever(self) -> None:
        due = time.perf_counter()
        posts, flags = self._world.posts, self._world.flags
        while not self._stop.is_set() and self.position < posts.size:
            end = min(posts.size, self.position + BATCH_POSTS)
            self.beyond = end
            newest_ms = int(posts["created_at_ms"][end - 1])
            self._clock.advance_ms(max(0, newest_ms - self._clock.now_ms()))
            self._store.insert(posts[self.position : end], flags[self.position : end])
            self.position = end
            due += BATCH_POSTS / POSTS_PER_SECOND
            wait_s = due - time.perf_counter()
            self.late_s = max(self.late_s, -wait_s)
            if wait_s > 0:
                self._stop.wait(wait_s)

    def _trim_for_ever(self) -> None:
        while not self._stop.wait(TRIM_SECONDS):
            self.trimmed += self._store.trim()


def measure_mixed(
    store: PostStore,
    clock: ManualClock,
    world: World,
    requests: list[Request],
    stretches: int,
    measured: Measured,
) -> None:
    """The posts of the world at its start are in the store, the others come; AssertionError where
    an answer is not the oracle's."""
    written = world.posts.size - world.extra
    writer = Writer(store, clock, world, written)
    room = world.extra / POSTS_PER_SECOND
    seconds = room / (stretches + 0.5)
    quiet_s: list[float] = []
    busy_s: list[float] = []
    answers: list[Answer] = []
    _ask_for(seconds / 4, store, clock, writer, requests, [])  # nobody's first is counted
    for _ in range(stretches):
        answers += _ask_for(seconds, store, clock, writer, requests, quiet_s)
        writer.start()
        try:
            answers += _ask_for(seconds, store, clock, writer, requests, busy_s)
        finally:
            writer.stop()
    _check(world, answers)
    quiet, busy = Timing.of(quiet_s), Timing.of(busy_s)
    follows = requests[0].following_ids.size
    group = f"{follows:,} follows, while posts come"
    measured.timings[group] = {"quiet": quiet, f"{POSTS_PER_SECOND:,} inserts a second": busy}
    measured.figures["while posts come, inserted and trimmed"] = (
        f"{writer.position - written:,} and {writer.trimmed:,}; latest batch "
        f"{writer.late_s * 1e3:.0f} ms late"
    )
    what = f"store, {follows:,} follows, {POSTS_PER_SECOND:,} inserts a second: p99 over quiet p99"
    measured.lines.append(Line(what, busy.p99 / quiet.p99, P99_BAR, "at most"))


def _ask_for(
    seconds: float,
    store: PostStore,
    clock: ManualClock,
    writer: Writer,
    requests: list[Request],
    spent_s: list[float],
) -> list[Answer]:
    answers = []
    until = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        request = requests[len(spent_s) % len(requests)]
        before, now_ms = writer.position, clock.now_ms()
        started = time.perf_counter()
        found = store.query(query_of(request))
        spent_s.append(time.perf_counter() - started)
        if clock.now_ms() == now_ms:  # else which of the two times it saw is not known
            answers.append(Answer(request, now_ms, before, writer.beyond, found.posts["post_id"]))
    return answers[:: max(1, len(answers) // CHECKED)]


def _check(world: World, answers: list[Answer]) -> None:
    oracle = Oracle.of(world)
    for answer in answers:
        seen = [
            *range(answer.seen_before, answer.seen_after, WRITTEN_AT_ONCE),
            answer.seen_after,
        ]
        if not any(_same(oracle, answer, known) for known in seen):
            raise AssertionError(
                f"a query of {answer.request.following_ids.size} follows at {answer.now_ms} ms is "
                f"not the oracle's for any of {seen[0]} to {seen[-1]} posts written"
            )


def _same(oracle: Oracle, answer: Answer, known: int) -> bool:
    expected = oracle.query(answer.request, answer.now_ms, known, RESULTS)
    return np.array_equal(expected, answer.ids)


def posts_needed(busy_seconds: float) -> int:
    """Posts that come in so long a time."""
    return int(POSTS_PER_SECOND * busy_seconds)
