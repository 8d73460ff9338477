"""The one thread in which models run, so that the event loop answers while they do.

One, because two programs at once share the same cores and both come out later; XLA spreads each
program over the cores by itself.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from service_kit.interpreter import named_pool

T = TypeVar("T")


class ModelWorker:
    """Runs functions one at a time, in order of arrival."""

    def __init__(self) -> None:
        self._pool = named_pool(1, "phoenix-model")

    async def run(self, function: Callable[[], T]) -> T:
        """The function's result, or its exception. A cancelled wait does not stop the function."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        """Waits for the function that runs; those that have not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
