"""Many readers or one writer, in turns, so that neither can starve the other.

A waiting writer keeps new readers out; when it is done, the readers that waited for it go before
the next writer. So a writer that writes in many small steps costs a reader one step, not all.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ReadWriteLock:
    """Not reentrant. Held for a query (under a millisecond) or a few written posts."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._readers_waiting = 0
        self._readers_first = 0  # that many may still go before the next writer
        self._writers_waiting = 0
        self._writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            if self._writing or self._writers_waiting:
                self._wait_to_read()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if self._readers == 0 and self._writers_waiting:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            if self._writing or self._readers or self._readers_first:
                self._wait_to_write()
            self._writing = True
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._readers_first = self._readers_waiting
                if self._readers_waiting or self._writers_waiting:
                    self._changed.notify_all()

    def _wait_to_read(self) -> None:
        self._readers_waiting += 1
        try:
            while self._writing or (self._writers_waiting and not self._readers_first):
                self._changed.wait()
        finally:
            self._readers_waiting -= 1
            self._readers_first = min(max(self._readers_first - 1, 0), self._readers_waiting)

    def _wait_to_write(self) -> None:
        self._writers_waiting += 1
        try:
            while self._writing or self._readers or self._readers_first:
                self._changed.wait()
        finally:
            self._writers_waiting -= 1
