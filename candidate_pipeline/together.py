"""Running what may have to wait: at once where it need not, else beside the others.

A coroutine that never waits for anything costs a call here and no task: its first step is taken
where it is asked for. The first one of a wave that does wait goes on in the request's own task, and
the others beside it, in tasks of their own.
"""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, TypeVar, cast

R = TypeVar("R")

Run = Callable[[], Coroutine[Any, Any, R]]


async def run_wave(runs: Sequence[Run[R]], may_wait: Sequence[bool]) -> list[R]:
    """All results, in order. Those that may wait run at the same time, the others before them.

    When one raises, the others are stopped and waited for.
    """
    found: dict[int, R] = {}
    order = sorted(range(len(runs)), key=may_wait.__getitem__)
    for done_count, i in enumerate(order):
        run = runs[i]()
        try:
            waits_for = run.send(None)
        except StopIteration as done:
            found[i] = done.value
            continue
        rest = order[done_count + 1 :]
        results = await _beside(resumed(run, waits_for), [runs[j] for j in rest])
        found.update(zip([i, *rest], results, strict=True))
        break
    return [found[i] for i in range(len(runs))]


@types.coroutine
def resumed(coroutine: Coroutine[Any, Any, R], waits_for: Any) -> Generator[Any, Any, R]:
    """What is left of a coroutine whose last step has returned `waits_for`."""
    while True:
        try:
            sent = yield waits_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's to judge
            step, what = cast(Callable[[Any], Any], coroutine.throw), error
        else:
            step, what = coroutine.send, sent
        try:
            waits_for = step(what)
        except StopIteration as done:
            return cast(R, done.value)


async def _beside(own: Awaitable[R], runs: Sequence[Run[R]]) -> list[R]:
    """Results of `own`, which goes on in this task, and of `runs`."""
    if not runs:
        return [await own]
    tasks = [asyncio.ensure_future(run()) for run in runs]
    stop = _Stop(tasks)
    try:
        result = await own
        stop.is_armed = False
        return [result, *await asyncio.gather(*tasks)]
    except BaseException:
        stop.is_armed = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stop.raise_cause()
        raise


class _Stop:
    """Ends this task's own waiting when one of the tasks fails."""

    def __init__(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        parent = asyncio.current_task()
        assert parent is not None  # `run_wave` is awaited in one
        self._parent = parent
        self._cause: BaseException | None = None
        self.is_armed = True
        for task in tasks:
            task.add_done_callback(self._ended)

    def raise_cause(self) -> None:
        """Raises the task's error, unless somebody else asked for the end as well."""
        if self._cause is not None and self._parent.uncancel() == 0:
            raise self._cause

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not self.is_armed or task.cancelled() or task.exception() is None:
            return
        self.is_armed = False
        self._cause = task.exception()
        self._parent.cancel()
