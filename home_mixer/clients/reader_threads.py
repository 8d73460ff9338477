"""Threads for blocking reads and writes, so that the event loop never waits for a disk.

Writes have a thread of their own: LMDB has one writer at a time, which may have to wait for another
process's transaction, and no read may wait behind it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import ParamSpec, TypeVar

from service_kit.loop_threads import LoopThreads

P = ParamSpec("P")
T = TypeVar("T")

THREADS_DEFAULT = 4  # reads are short and mostly hold the interpreter lock; more would only queue
NAME = "store-reads"
NAME_WRITES = "store-writes"


class ReaderThreads:
    """A small pool; `close` waits for what runs."""

    def __init__(self, threads: int = THREADS_DEFAULT) -> None:
        self._reads = LoopThreads(threads, NAME, together=True)
        self._writes = LoopThreads(1, NAME_WRITES, together=True)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """The function's result, computed in a thread; its exceptions pass through."""
        return self._reads.run(partial(function, *args, **kwargs))

    def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """The same, after the writes given before."""
        return self._writes.run(partial(function, *args, **kwargs))

    def close(self) -> None:
        """Waits for running calls and ends the threads."""
        self._reads.close()
        self._writes.close()
