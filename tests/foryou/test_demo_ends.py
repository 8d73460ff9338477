"""A demo that is interrupted must leave no process behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

START_SECONDS_MAX = 120


def processes_naming(text: str) -> list[int]:
    """Pids whose command line holds `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(entry.name))
    return found


@pytest.mark.e2e
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to see processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demo_ends_all_that_it_started(tmp_path, number):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "foryou.cli", "demo", "--headless", "--users", "60"),
        *("--data-dir", str(tmp_path / "demo")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    async with asyncio.timeout(START_SECONDS_MAX):
        while b"catch up" not in said:
            line = await process.stderr.readline()
            assert line, said
            said += line
    assert len(processes_naming(str(tmp_path))) >= 5  # the demo, four services
    os.kill(process.pid, number)
    out, error = await asyncio.wait_for(process.communicate(), START_SECONDS_MAX)
    assert process.returncode == 1
    assert out == b""
    assert error.endswith(b"error: interrupted\n")
    assert processes_naming(str(tmp_path)) == []
