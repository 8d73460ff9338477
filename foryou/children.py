"""Processes that the command starts, waits for and, whatever happens, ends.

Each child runs `python -m foryou.cli …`. What it logs goes to DATA_DIR/logs/NAME.log, as does its
standard output, whose first line tells a server's addresses. Children do not get the terminal's
Ctrl-C: their parent ends them, with SIGTERM first and SIGKILL when they do not go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from foryou.errors import CommandError

LOG_LINES_SHOWN = 8  # of a child that failed
STOP_SECONDS = 15.0  # a service's drain is 10
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)
LINE_BYTES_MAX = 1 << 20  # of a child's standard output


class Child:
    """One process; made by `Children.start`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.log = name, log
        self._process = process
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read(), name=f"{name} output")

    async def first_json(self, timeout_s: float) -> dict[str, Any]:
        """The next line of standard output, a JSON object; CommandError if none comes."""
        try:
            line = await asyncio.wait_for(self._lines.get(), timeout_s)
        except TimeoutError:
            raise self.failed(f"said nothing for {timeout_s:.0f} s") from None
        if line is None:
            raise self.failed(f"ended with exit code {await self._process.wait()}")
        try:
            said = json.loads(line)
        except ValueError:
            raise self.failed(f"said {line[:200]!r} instead of a JSON object") from None
        return dict(said)

    async def finish(self, timeout_s: float) -> dict[str, Any]:
        """Waits for a clean end; returns its last line of standard output, a JSON object."""
        try:
            code = await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            raise self.failed(f"did not finish within {timeout_s:.0f} s") from None
        if code != 0:
            raise self.failed(f"ended with exit code {code}")
        return await self.first_json(timeout_s=1.0)

    async def ended(self) -> int:
        """Waits for the end, whatever it is; the exit code."""
        return await self._process.wait()

    def failed(self, what: str) -> CommandError:
        """An error that says what the child did, with the end of its log."""
        tail = "\n".join(f"  | {line}" for line in self._log_tail())
        return CommandError(f"{self.name} {what}; its log, {self.log}, ends with\n{tail}")

    async def stop(self) -> None:
        """SIGTERM, a while, SIGKILL; returns when the process is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        await self._reader

    @property
    def pid(self) -> int:
        """Of the process, to signal it."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with self.log.open("ab") as log:
            while line := await self._process.stdout.readline():
                log.write(line)
                log.flush()
                if text := line.decode(errors="replace").strip():
                    self._lines.put_nowait(text)
        self._lines.put_nowait(None)

    def _log_tail(self) -> list[str]:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError as error:
            return [f"(unreadable: {error})"]
        return [line[:400] for line in lines[-LOG_LINES_SHOWN:]] or ["(empty)"]


class Children:
    """The children of one run; leaving the `async with` ends those that are left."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._logs = data_dir / "logs"
        self._children: list[Child] = []

    async def start(
        self, name: str, arguments: Sequence[str], environment: dict[str, str] | None = None
    ) -> Child:
        """Starts `foryou ARGUMENTS…` under the same interpreter."""
        self._logs.mkdir(parents=True, exist_ok=True)
        path = self._logs / f"{name}.log"
        with path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "foryou.cli",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
        child = Child(name, process, path)
        self._children.append(child)
        return child

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Shielded: a second Ctrl-C must not leave processes behind.
        await asyncio.shield(asyncio.gather(*(child.stop() for child in self._children)))


@contextlib.asynccontextmanager
async def ending_on_signals() -> AsyncIterator[None]:
    """SIGINT or SIGTERM inside the block cancels it and raises KeyboardInterrupt from it."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    signalled = False

    def end() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, end)
    try:
        yield
    except asyncio.CancelledError:
        if signalled:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in ENDING_SIGNALS:
            loop.remove_signal_handler(number)


async def until_interrupted() -> None:
    """Waits for SIGINT or SIGTERM.

    Later ones change nothing: the caller is already ending its children, which has its own bound,
    and `uv run` passes on the Ctrl-C that the terminal has sent to all.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDING_SIGNALS:
        loop.add_signal_handler(number, interrupted.set)
    await interrupted.wait()
