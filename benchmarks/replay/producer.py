"""Sends the stream in its bursts until everything is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.replay.events import Send
from service_kit.event_log import EventSink

logger = logging.getLogger(__name__)
TICK_S = 0.05
RECORDS_AT_ONCE = 2_000
RETRY_S = 1.0
GIVE_UP_S = 400.0  # without one acknowledgement: the broker does not come back


class NotAcknowledgedError(RuntimeError):
    """The log took nothing for ``GIVE_UP_S``."""


@dataclass(slots=True)
class Producer:
    """``sent_again``: records of batches that were not acknowledged and may stand there twice."""

    sink: EventSink
    acknowledged: int = 0
    failures: int = 0
    sent_again: int = 0
    seconds: float = 0.0

    async def run(self, sends: Sequence[Send], seconds: float) -> None:
        """The replayed time of ``sends`` passes in ``seconds``: bursts stay bursts. A log that is
        slower than that holds the rest up."""
        loop = asyncio.get_running_loop()
        started_s, first_ms = loop.time(), sends[0].due_ms
        per_ms = seconds / max(1, sends[-1].due_ms - first_ms)
        at = 0
        while at < len(sends):
            due_ms = first_ms + (loop.time() - started_s) / per_ms
            end = at
            while end < len(sends) and sends[end].due_ms <= due_ms and end - at < RECORDS_AT_ONCE:
                end += 1
            if end == at:
                await asyncio.sleep(TICK_S)
                continue
            await self._send(sends[at:end])
            at = end
        await self.sink.flush()
        self.seconds = loop.time() - started_s

    async def _send(self, sends: Sequence[Send]) -> None:
        for topic in dict.fromkeys(send.topic for send in sends):
            own = [(s.key, s.value, s.timestamp_ms) for s in sends if s.topic == topic]
            await self._until_acknowledged(topic, own)

    async def _until_acknowledged(
        self, topic: str, entries: Sequence[tuple[bytes, bytes, int]]
    ) -> None:
        loop = asyncio.get_running_loop()
        end_s, refused = loop.time() + GIVE_UP_S, 0
        while True:
            try:
                await self.sink.append_many(topic, entries)
            except Exception as error:
                self.failures += 1
                self.sent_again += len(entries)
                refused += 1
                if refused == 1:  # an outage is one line
                    logger.warning("not acknowledged, sent until it is: %s", type(error).__name__)
                if loop.time() > end_s:
                    raise NotAcknowledgedError(f"{topic}: nothing taken: {error}") from error
                await asyncio.sleep(RETRY_S)
            else:
                self.acknowledged += len(entries)
                return
