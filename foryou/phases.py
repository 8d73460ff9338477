"""How long each part of a run took, told as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TextIO


class Phase(NamedTuple):
    """One finished part."""

    name: str
    seconds: float


class Phases:
    """Collects phases in the order of their end; parts may overlap."""

    def __init__(self, stream: TextIO, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._monotonic_s = stream, monotonic_s
        self._start_s = monotonic_s()
        self.done: list[Phase] = []

    def elapsed_s(self) -> float:
        """Since the run began."""
        return self._monotonic_s() - self._start_s

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"[{self.elapsed_s():6.1f} s] {text}", file=self._stream, flush=True)

    @contextmanager
    def phase(self, name: str, doing: str) -> Iterator[None]:
        """Says what begins, and when it is done how long it took."""
        start_s = self.elapsed_s()
        self.say(doing)
        yield
        seconds = self.elapsed_s() - start_s
        self.done.append(Phase(name, seconds))
        self.say(f"{name}: done in {seconds:.1f} s")
