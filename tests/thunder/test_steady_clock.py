"""A clock that is set back loses no post, shows none twice and makes nothing younger than now."""

from __future__ import annotations

from typing import Any

import numpy as np

from service_kit.clock import ManualClock
from service_kit.metrics import Metrics
from thunder.layout import ROW
from thunder.steady_clock import STEP_HELD_MS_MAX, SteadyClock
from thunder.store import PostStore, Query

RETENTION_MS = 172_800_000
HOUR_MS = 3_600_000


class SteppingClock(ManualClock):
    """A machine's clock that an operator or NTP sets."""

    def __init__(self) -> None:
        super().__init__()
        self.step_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.step_ms


class Watched:
    def __init__(self) -> None:
        self.wall = SteppingClock()
        self.clock = SteadyClock(self.wall)
        self.store = PostStore(self.clock, posts_max=1_000)
        self.metrics = Metrics("thunder")

    def post(self, post_id: int, at_ms: int) -> dict[str, int]:
        row = np.zeros(1, ROW)
        row["post_id"], row["author_id"], row["created_at_ms"] = post_id, 1, at_ms
        return self.store.insert(row, np.zeros(1, np.uint8))

    def ids(self) -> list[Any]:
        query = Query(9, np.array([1], np.uint64), np.array([], np.uint64), 100)
        found: list[Any] = self.store.query(query).posts["post_id"].tolist()
        return found


def test_posts_of_other_machines_are_taken_after_a_step_back() -> None:
    watched = Watched()
    true_ms = watched.wall.now_ms()
    assert watched.post(1, true_ms) == {"applied": 1}
    watched.wall.step_ms = -10 * 60_000
    assert watched.post(2, true_ms + 1) == {"applied": 1}, "it would seem ten minutes ahead"
    watched.wall.advance_ms(5_000)
    assert watched.post(3, true_ms + 5_000) == {"applied": 1}
    assert watched.post(3, true_ms + 5_000) == {"duplicate": 1}
    assert watched.ids() == [3, 2, 1], "nothing that was due hides again"
    assert watched.clock.held_seconds() == 600


def test_retention_runs_on_through_the_step() -> None:
    watched = Watched()
    start_ms = watched.wall.now_ms()
    watched.post(1, start_ms)
    watched.wall.step_ms = -30 * 60_000
    watched.wall.advance_ms(RETENTION_MS)
    assert watched.ids() == [1]
    watched.wall.advance_ms(1)
    assert watched.ids() == []
    assert watched.store.trim() == 1


def test_the_wall_is_followed_again_once_it_has_caught_up() -> None:
    watched = Watched()
    watched.clock.now_ms()
    watched.wall.step_ms = -60_000
    watched.wall.advance_ms(1_000)
    assert watched.clock.held_seconds() == 60
    watched.wall.step_ms = 5_000
    assert watched.clock.now_ms() == watched.wall.now_ms()
    assert watched.clock.held_seconds() == 0


def test_time_never_runs_backwards_within_an_hour() -> None:
    watched = Watched()
    rng = np.random.default_rng(5)
    last_ms = watched.clock.now_ms()
    for step_ms in rng.integers(-HOUR_MS // 4, HOUR_MS // 8, 200).tolist():
        watched.wall.step_ms = step_ms
        watched.wall.advance_ms(int(rng.integers(0, 1_000)))
        assert watched.clock.now_ms() >= last_ms
        last_ms = watched.clock.now_ms()


def test_a_step_that_mends_a_clock_far_ahead_is_followed() -> None:
    watched = Watched()
    watched.wall.step_ms = 10 * HOUR_MS
    watched.clock.now_ms()
    watched.wall.step_ms = 0
    assert watched.clock.now_ms() == watched.wall.now_ms()
    assert STEP_HELD_MS_MAX == HOUR_MS
