"""Time, passed in: everything that asks for the time takes a ``Clock``, so tests never sleep."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for facts that others read, monotonic time for measuring durations."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """Stands still until a test moves it; both clocks move together."""

    def __init__(self, now_ms: int = 1_750_000_000_000) -> None:
        self._start_ms = now_ms
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return (self._now_ms - self._start_ms) / 1000.0

    def advance_ms(self, milliseconds: int) -> None:
        """Moves time forwards; raises ValueError for a negative step."""
        if milliseconds < 0:
            raise ValueError(f"time only moves forwards: got {milliseconds} ms, expected >= 0")
        self._now_ms += milliseconds
