"""Calls that travel alone, such as thunder's queries, run on threads of their own, once each, and
their caller hears what became of them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service_kit.loop_threads import LoopThreads


async def test_a_result_and_an_error_reach_the_caller() -> None:
    threads = LoopThreads(2, "query")
    assert await threads.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: 8) == 8, "an error ends no thread"
    threads.close()


async def test_as_many_run_at_once_as_there_are_threads() -> None:
    """Fewer would leave cores idle; the barrier lets nobody through before both are there."""
    threads = LoopThreads(2, "query")
    both = threading.Barrier(2)
    async with asyncio.timeout(30):
        await asyncio.gather(threads.run(both.wait), threads.run(both.wait))
    threads.close()


async def test_a_cancelled_call_runs_to_its_end_and_disturbs_nobody() -> None:
    """Its place among the queries is given back by the work itself."""
    threads = LoopThreads(1, "query")
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        end.wait(30)
        ended.set()
        return True

    call = asyncio.ensure_future(threads.run(work))
    await asyncio.to_thread(begun.wait, 30)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    end.set()
    assert await threads.run(ended.is_set)
    threads.close()


def test_a_loop_that_is_gone_leaves_the_thread_alive_until_close() -> None:
    """A drain that was cut must not leave threads that die with a traceback, or hang."""
    threads = LoopThreads(1, "query")
    end = threading.Event()

    async def leave() -> None:
        threads.run(lambda: end.wait(30))

    asyncio.run(leave())
    end.set()
    threads.close()
    assert not any(thread.is_alive() for thread in threads._threads)
