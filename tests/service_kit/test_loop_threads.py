"""An event loop's calls into threads must each have one answer, whatever their companions do."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

from service_kit.loop_threads import LoopThreads


@pytest.fixture
def threads():
    made = LoopThreads(2, "worker", together=True)
    yield made
    made.close()


async def test_each_call_gets_its_own_answer_off_the_loop(threads):
    here = threading.get_ident()
    numbers = [threads.run(lambda n=n: (n, threading.get_ident())) for n in range(50)]
    answers = await asyncio.gather(*numbers)
    assert [n for n, _ in answers] == list(range(50))
    assert here not in {ident for _, ident in answers}


async def test_calls_of_one_turn_share_a_thread_and_those_of_another_need_not_wait(threads):
    """A read that waits for the disk must not hold up another feed's reads."""
    go_on = threading.Event()
    together = [threads.run(threading.get_ident), threads.run(go_on.wait)]
    await asyncio.sleep(0)
    try:
        assert await asyncio.wait_for(threads.run(lambda: "other"), 30.0) == "other"
    finally:
        go_on.set()
    idents = await asyncio.gather(together[0], together[1], threads.run(threading.get_ident))
    assert idents[1] is True
    assert idents[0] != threading.get_ident()


async def test_an_error_is_its_own_calls_alone(threads):
    def broken():
        raise LookupError("no such row")

    failed, fine = threads.run(broken), threads.run(lambda: 1)
    with pytest.raises(LookupError, match="no such row"):
        await failed
    assert await fine == 1


async def test_a_cancelled_call_leaves_its_companions_theirs(threads):
    cancelled, fine = threads.run(lambda: 1), threads.run(lambda: 2)
    cancelled.cancel()
    assert await fine == 2
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_closing_runs_what_was_given(threads):
    """A feed's last write would be lost, were it dropped."""
    done = []
    late = LoopThreads(1, "late", together=True)
    late.run(lambda: done.append("written"))
    await asyncio.to_thread(late.close)
    assert done == ["written"]
    with pytest.raises(RuntimeError, match="closed"):
        late.run(lambda: None)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
async def test_an_operator_sees_threads_by_their_names(threads):
    comm = await threads.run(
        lambda: Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text()
    )
    assert comm.startswith("worker_")


def test_no_thread_is_refused():
    with pytest.raises(ValueError, match="threads is 0"):
        LoopThreads(0, "none")
