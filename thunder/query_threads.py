"""Threads that run queries for an event loop; a fraction of an executor's cost a call.

`ThreadPoolExecutor` makes a future with a condition for each call and chains the loop's own to it;
here a call is one queue entry and one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Call = tuple[Callable[[], T], "asyncio.Future[T]"]


class QueryThreads(Generic[T]):
    """Calls run in the order of `run`, as many at once as there are threads."""

    def __init__(self, threads: int, name: str) -> None:
        self._calls: SimpleQueue[Call[T] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}_{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """The running loop's future of what ``work`` returns or raises. Cancelling it does not
        end the work, which runs once in any case."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((work, future))
        return future

    def close(self) -> None:
        """Waits for what was given to `run`; nothing may be given any more."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            work, future = call
            try:
                _tell(future, future.set_result, work())
            except Exception as error:  # noqa: BLE001 - the caller's to handle
                _tell(future, future.set_exception, error)
            del call, work, future  # or the last call would live as long as the pause after it


def _tell(future: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
    with suppress(RuntimeError):  # a thread that outlives the loop has nobody to tell
        future.get_loop().call_soon_threadsafe(_unless_cancelled, future, tell, what)


def _unless_cancelled(future: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
    if not future.done():
        tell(what)
