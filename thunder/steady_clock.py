"""The machine's clock, but never backwards: what was due stays due, and nothing turns future.

When the wall clock steps back, time goes on from where it was at the pace of the monotonic clock
until the wall has caught up. Following the step would refuse fresh posts as dated ahead and lose
them. A step back by more than an hour mends a clock that was far ahead, so it is followed.
"""

from __future__ import annotations

import threading
from typing import Final

from service_kit.clock import Clock

STEP_HELD_MS_MAX: Final = 3_600_000  # beyond it retention would be off by more than 2 % of its days


class SteadyClock:
    """Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wall_ms = clock.now_ms()
        self._at_s = clock.monotonic_s()

    def now_ms(self) -> int:
        """Milliseconds since 1970, never less than a moment ago."""
        return self._look()[0]

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def held_seconds(self) -> float:
        """How far the machine's clock is behind this one; 0 in the usual case."""
        now_ms, wall_ms = self._look()
        return (now_ms - wall_ms) / 1000

    def _look(self) -> tuple[int, int]:
        """(this clock, the machine's)."""
        with self._lock:
            wall_ms, at_s = self._clock.now_ms(), self._clock.monotonic_s()
            held_ms = self._wall_ms + max(0, int((at_s - self._at_s) * 1000))
            if wall_ms >= held_ms or held_ms - wall_ms > STEP_HELD_MS_MAX:
                self._wall_ms, self._at_s = wall_ms, at_s
                return wall_ms, wall_ms
            return held_ms, wall_ms
