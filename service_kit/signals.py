"""SIGTERM and Ctrl-C from a process's first line to its last.

Before its event loop runs, a process has nothing to lose and leaves at once; while it runs, the
first signal ends its life in order and later ones change nothing; after that they are ignored, so
that an impatient second one cannot turn a clean end into a killed process. As process 1 of a
container a program without a handler would not even notice SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

ENDING = (signal.SIGTERM, signal.SIGINT)


def leave_on_signals() -> None:
    """From now on a signal ends the process at once with 0; for the time of its imports."""
    for number in ENDING:
        signal.signal(number, lambda *_: os._exit(0))


def call_on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """From now on each signal calls ``stop`` on ``loop``."""
    for number in ENDING:
        loop.add_signal_handler(number, stop)


def ignore_signals(loop: asyncio.AbstractEventLoop) -> None:
    """From now on signals change nothing: the process is ending."""
    for number in ENDING:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
