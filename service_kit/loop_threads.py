"""Threads that work for an event loop: a fraction of an executor's cost a call.

`ThreadPoolExecutor` makes a future with a condition for each call and chains the loop's own to it;
here a call is one entry of a queue and one wake-up of the loop.

Short calls that mostly hold the interpreter lock may travel together: those of one turn of the loop
are one entry, one thread that runs them one after the other, one wake-up with all their results.
One that may wait long, or that leaves the lock, belongs on threads whose calls travel alone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from service_kit.interpreter import name_thread

T = TypeVar("T")


@dataclass(slots=True)
class _Call:
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class LoopThreads:
    """Calls start in the order of `run`, as many at once as there are threads."""

    def __init__(self, threads: int, name: str, *, together: bool = False) -> None:
        """ValueError for less than one thread. ``name``: operators see its first 13 bytes.
        ``together``: calls of one turn of the loop share a thread."""
        if threads < 1:
            raise ValueError(f"threads is {threads}; expected at least 1")
        self._together = together
        self._turn: list[_Call] = []
        self._turns: SimpleQueue[list[_Call] | None] = SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(f"{name}_{i}",), name=f"{name}_{i}")
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """The running loop's future of what ``work`` returns or raises.

        Cancelling it does not end the work, which runs once in any case. RuntimeError after
        `close`.
        """
        if self._closed:
            raise RuntimeError("these threads have been closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if not self._together:
            self._turns.put([_Call(work, future)])
            return future
        if not self._turn:
            loop.call_soon(self._hand_over)
        self._turn.append(_Call(work, future))
        return future

    def close(self) -> None:
        """Waits for what was given to `run`."""
        self._closed = True
        self._hand_over()
        for _ in self._threads:
            self._turns.put(None)
        for thread in self._threads:
            thread.join()

    def _hand_over(self) -> None:
        if self._turn:
            turn, self._turn = self._turn, []
            self._turns.put(turn)

    def _work(self, name: str) -> None:
        name_thread(name)
        while (turn := self._turns.get()) is not None:
            for call in turn:
                try:
                    call.result = call.work()
                except Exception as error:  # noqa: BLE001 - the caller's to handle
                    call.error = error
            with suppress(RuntimeError):  # a thread that outlives the loop has nobody to tell
                turn[0].future.get_loop().call_soon_threadsafe(_tell, turn)
            del turn, call  # or the last calls would live as long as the pause after them


def _tell(turn: Sequence[_Call]) -> None:
    """In the loop. Whoever was cancelled meanwhile is not told."""
    for call in turn:
        if call.future.done():
            continue
        if call.error is not None:
            call.future.set_exception(call.error)
        else:
            call.future.set_result(call.result)
