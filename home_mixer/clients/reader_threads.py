"""Threads for blocking reads, so that the event loop never waits for a page of the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS_DEFAULT = 4  # reads are short and mostly hold the interpreter lock; more would only queue


class ReaderThreads:
    """A small pool; `close` waits for what runs."""

    def __init__(self, threads: int = THREADS_DEFAULT) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="feature-store")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, computed in a thread; its exceptions pass through."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Waits for running calls and ends the threads."""
        self._pool.shutdown(wait=True)
