"""Children must be heard, be named when they fail, and never outlive their parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from foryou.children import Children, ending_on_signals, until_interrupted
from foryou.errors import CommandError
from foryou.waiting import until_serving

SCORED = json.dumps({"post_id": 5, "author_id": 1, "heads": {"favorite": 0.1}})


async def test_a_childs_last_line_is_its_result(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text(SCORED)
    async with Children(tmp_path) as children:
        child = await children.start("score", ["score", str(path)])
        assert (await child.finish(60))["post_id"] == 5
    assert "post_id" in (tmp_path / "logs" / "score.log").read_text()


async def test_a_failed_child_is_named_with_the_end_of_its_log(tmp_path):
    async with Children(tmp_path) as children:
        child = await children.start("scoring", ["score", "/no/such/file"])
        with pytest.raises(CommandError, match=r"(?s)scoring ended with exit code 2.*cannot be"):
            await child.finish(60)
        with pytest.raises(CommandError, match="scoring ended with exit code 2"):
            await child.first_json(60)


@pytest.mark.e2e
async def test_a_server_announces_itself_serves_and_ends_with_its_parent(tmp_path):
    async with Children(tmp_path) as children:
        child = await children.start(
            "ingester", ["serve", "ingester", "--grpc-port", "0", "--data-dir", str(tmp_path)]
        )
        address = (await child.first_json(60))["grpc_address"]
        await until_serving(child, address, 60)
        assert child.exit_code is None
    assert child.exit_code == 0


@pytest.mark.e2e
async def test_waiting_for_a_dead_server_ends_with_its_log(tmp_path):
    async with Children(tmp_path) as children:
        child = await children.start("thunder", ["serve", "thunder", "--grpc-port", "-5"])
        await child.ended()
        with pytest.raises(CommandError, match=r"(?s)thunder ended with exit code 2.*grpc_port"):
            await until_serving(child, "127.0.0.1:1", 60)


async def test_a_signal_cancels_the_work_and_becomes_an_interrupt():
    """Ctrl-C in the middle of a training must run every clean-up on its way out."""
    cleaned = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        async with ending_on_signals():
            await work()
    assert cleaned


async def test_a_second_interrupt_does_not_cut_the_clean_end_short():
    """`uv run` passes on the Ctrl-C that the terminal sent to all; the demo still ends with 0."""
    loop = asyncio.get_running_loop()
    try:
        waiting = asyncio.create_task(until_interrupted())
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        await waiting
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.01)  # long enough for Python to run a handler that would raise
        assert waiting.result() is None
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
