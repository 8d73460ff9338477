"""Whether each gRPC service of this process may be sent traffic, and why not.

Drives ``grpc.health.v1`` and ``/readyz``. The empty name stands for the whole process: it serves
only while every named service and the process itself do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)
PROCESS = ""  # grpc.health.v1's name for the server as a whole
Listener = Callable[[str, bool], None]


@dataclass(frozen=True, slots=True)
class State:
    serving: bool
    reason: str


class Readiness:
    """Thread-safe; a name that was never set is not serving."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._states: dict[str, State] = {}
        self._draining = ""
        self._listeners: list[Listener] = []

    def set(self, service_name: str, serving: bool, reason: str = "") -> None:
        """Sets one service ("" = the process itself); ``reason`` says why it is not serving."""
        with self._lock:
            before = self.snapshot()
            self._states[service_name] = State(serving, reason)
            self._tell(before)

    def drain(self, reason: str) -> None:
        """Nothing serves from now on, whatever is set later."""
        with self._lock:
            before = self.snapshot()
            self._draining = reason
            self._tell(before)

    def serving(self, service_name: str = PROCESS) -> bool:
        return self.state(service_name).serving

    def state(self, service_name: str = PROCESS) -> State:
        """Serving or not, with the reasons of everything that holds it back."""
        with self._lock:
            if self._draining:
                return State(False, self._draining)
            if service_name != PROCESS:
                return self._states.get(service_name, State(False, "not started"))
            held = [
                f"{n or 'process'}: {s.reason}" for n, s in self._states.items() if not s.serving
            ]
            if not self._states:
                held = ["not started"]
            return State(not held, "; ".join(held))

    def snapshot(self) -> dict[str, State]:
        """State by name, the process under ""."""
        with self._lock:
            return {name: self.state(name) for name in {PROCESS, *self._states}}

    def listen(self, listener: Listener) -> None:
        """Calls ``listener(name, serving)`` now for every name, then at each change."""
        with self._lock:
            self._listeners.append(listener)
            for name, state in self.snapshot().items():
                listener(name, state.serving)

    def _tell(self, before: dict[str, State]) -> None:
        for name, state in self.snapshot().items():
            if before.get(name) == state:
                continue
            logger.info(
                "readiness changed",
                extra={"grpc_service": name, "serving": state.serving, "reason": state.reason},
            )
            for listener in self._listeners:
                listener(name, state.serving)
