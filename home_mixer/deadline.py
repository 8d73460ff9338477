"""When the current request must be answered, for the calls that it makes on the way.

The server sets it once a request; asyncio carries it into every task of that request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A callee gets this share of the time that its caller waits: it can still answer in part, and the
# answer still arrives.
CALLEE_SHARE = 0.9
TIMEOUT_S_MIN = 0.001  # gRPC takes no timeout of 0

_deadline_s: ContextVar[float | None] = ContextVar("deadline_s", default=None)


@contextmanager
def request_deadline(deadline_s: float | None) -> Iterator[None]:
    """``deadline_s`` is on the event loop's clock; None: no bound but each component's own."""
    token = _deadline_s.set(deadline_s)
    try:
        yield
    finally:
        _deadline_s.reset(token)


def call_timeout_s(budget_ms: float) -> float:
    """Timeout of a call made now by a component with this budget."""
    waits_s = budget_ms / 1000
    deadline_s = _deadline_s.get()
    if deadline_s is not None:
        waits_s = min(waits_s, deadline_s - asyncio.get_running_loop().time())
    return max(CALLEE_SHARE * waits_s, TIMEOUT_S_MIN)
