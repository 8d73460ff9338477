"""The ingesters' state in Redis: how far the log was read, and whether Redis still has it all.

A *generation* is one filling of the stores. The state names it beside the positions, and so does
each bucket's marker. A marker that is gone says that its slot was emptied; then a new generation
begins with no positions, and the whole log is read again. Positions are only stored over the ones
that this ingester knows, so that a Redis that went back in time (restored from a file, or failed
over to a replica that lagged) is noticed too.
"""

from __future__ import annotations

import logging
import uuid

from home_mixer.clients.protocols import StoreError
from home_mixer.clients.redis.keys import BUCKETS, KeySchema
from home_mixer.clients.redis.link import RedisLink
from home_mixer.clients.redis.scripts import ADVANCE, BEGIN, MARK
from home_mixer.clients.writes import Positions

logger = logging.getLogger(__name__)
GENERATION = b"generation"
POSITION, FILLED = "at:", "filled:"  # fields of the state: at:<topic>/<partition>, filled:<i>/<n>
ANOTHER_GENERATION, GONE_BACK = -1, -2  # what ADVANCE may say
UNKNOWN = -1  # a position that is not stored


class StoreLostError(StoreError):
    """Redis no longer holds what it had acknowledged; `StoreState.load` says where to go on."""


class StoreState:
    """One ingester's view of the state."""

    def __init__(self, link: RedisLink, keys: KeySchema, ttl_ms: int) -> None:
        self._link = link
        self._keys = keys
        self._ttl_ms = ttl_ms
        self._generation = ""
        self._known: dict[tuple[str, int], int] = {}

    @property
    def known(self) -> bool:
        """Whether `load` has been done."""
        return bool(self._generation)

    def load(self) -> dict[tuple[str, int], int]:
        """The stored positions; none, and a new generation, where the store is not whole."""
        fields = self._fields()
        generation = fields.get(GENERATION, b"").decode()
        if not generation or self._strangers(generation):
            return self._begin(generation)
        self._generation = generation
        self._known = {
            _place(name): int(value)
            for name, value in fields.items()
            if name.startswith(POSITION.encode())
        }
        return dict(self._known)

    def check(self) -> None:
        """Raises `StoreLostError` where Redis has lost anything that this ingester relies on."""
        self.advance({})
        fields = self._fields()
        for place, offset in self._known.items():
            if int(fields.get(_field(place).encode(), UNKNOWN)) < offset:
                raise self._gone_back()

    def advance(self, positions: Positions) -> None:
        """Store positions; the rows behind them must have been stored before."""
        self._check_markers()
        words: list[str | int] = [self._generation, self._ttl_ms]
        for place, offset in positions.items():
            words += [_field(place), self._known.get(place, UNKNOWN), offset]
        (said,) = self._link.run([("EVAL", ADVANCE, 1, self._keys.state, *words)])
        if said == ANOTHER_GENERATION:
            raise self._lost("its state")
        if said == GONE_BACK:
            raise self._gone_back()
        self._known.update(positions)

    def filled(self, share: tuple[int, int]) -> bool:
        """This share has caught up; true, and readers are let in, once all shares have."""
        number, shares = share
        self._check_markers()
        name = f"{FILLED}{number}/{shares}"
        self._link.run([("HSET", self._keys.state, name, self._generation)])
        fields = self._fields()
        wanted = [f"{FILLED}{n}/{shares}".encode() for n in range(shares)]
        if any(fields.get(name) != self._generation.encode() for name in wanted):
            return False
        ready = f"ready:{self._generation}"
        self._link.run([("SET", key, ready, "PX", self._ttl_ms) for key in self._keys.markers])
        return True

    def keep(self) -> None:
        """Makes markers and state live on; a marker that expired would count as lost."""
        keys = [self._keys.state, *self._keys.markers]
        self._link.run([("PEXPIRE", key, self._ttl_ms) for key in keys])

    def _begin(self, over: str) -> dict[tuple[str, int], int]:
        words = (over, uuid.uuid4().hex, self._ttl_ms)
        (generation,) = self._link.run([("EVAL", BEGIN, 1, self._keys.state, *words)])
        self._generation = generation.decode()
        self._known = {}
        strangers = self._strangers(self._generation)
        mark = ("EVAL", MARK, 1)
        self._link.run([(*mark, key, self._generation, self._ttl_ms) for key in strangers])
        logger.warning(
            "the feature store is filled from the log's start",
            extra={
                "redis": self._link.place,
                "why": "it is not whole any more" if over else "it is new, or was emptied",
                "generation": self._generation,
            },
        )
        return {}

    def _check_markers(self) -> None:
        strangers = self._strangers(self._generation)
        if strangers:
            raise self._lost(f"{len(strangers)} of {BUCKETS} markers")

    def _strangers(self, generation: str) -> list[str]:
        """Keys of the markers that are not of ``generation``."""
        values = self._link.mget(self._keys.markers, range(BUCKETS))
        end = f":{generation}".encode()
        return [
            key
            for key, value in zip(self._keys.markers, values, strict=True)
            if value is None or not value.endswith(end)
        ]

    def _fields(self) -> dict[bytes, bytes]:
        (fields,) = self._link.run([("HGETALL", self._keys.state)])
        return dict(fields)

    def _lost(self, what: str) -> StoreLostError:
        return StoreLostError(
            f"{self._link.place} has lost {what}: it was emptied, or keys were evicted; the log is "
            "read again from its start"
        )

    def _gone_back(self) -> StoreLostError:
        return StoreLostError(
            f"{self._link.place} has gone back to an older state: restored from a file, or failed "
            "over to a replica that lagged; the log is read again from there"
        )


def _field(place: tuple[str, int]) -> str:
    return f"{POSITION}{place[0]}/{place[1]}"


def _place(field: bytes) -> tuple[str, int]:
    topic, partition = field.decode().removeprefix(POSITION).rsplit("/", 1)
    return topic, int(partition)
