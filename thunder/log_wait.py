"""What a start needs from the log before it can go on, however long the log is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service_kit.event_log import LogUnavailableError, TopicError
from service_kit.readiness import Readiness

logger = logging.getLogger(__name__)
RETRY_S: Final = 0.5  # a broker that starts takes seconds
Answer = TypeVar("Answer")


async def when_log_answers(
    ask: Callable[[], Awaitable[Answer]], readiness: Readiness, name: str
) -> Answer:
    """What ``ask`` returns once it does; until then ``name`` is NOT_SERVING and says why."""
    said = ""
    while True:
        try:
            return await ask()
        except (LogUnavailableError, TopicError) as error:
            if str(error) != said:
                said = str(error)
                readiness.set(name, False, said)
                logger.warning("the start waits for the log", extra={"reason": said})
            await asyncio.sleep(RETRY_S)
