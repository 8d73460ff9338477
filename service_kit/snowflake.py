"""Post ids that carry their creation time.

id = (timestamp_ms − SNOWFLAKE_EPOCH_MS) << 22 | worker (10 bits) << 12 | sequence (12 bits),
the published snowflake layout. Ids below ``FIRST_SNOWFLAKE_ID`` were handed out before
2010-11-05 and carry no time.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from service_kit.clock import Clock

SNOWFLAKE_EPOCH_MS = 1_288_834_974_657  # 2010-11-04 01:42:54.657 UTC
FIRST_SNOWFLAKE_ID = 362_387_865_600_000  # 2010-11-05 01:42:54.657 UTC; older ids carry no time
TIMESTAMP_SHIFT = 22
WORKER_SHIFT = 12
WORKERS = 1 << 10
SEQUENCES = 1 << 12  # ids one worker can make in one millisecond
ID_MAX = (1 << 63) - 1  # the sign bit stays clear so that ids fit int64 columns


def timestamp_ms(post_id: int) -> int:
    """Creation time of ``post_id``; raises ValueError where the id carries none."""
    if not FIRST_SNOWFLAKE_ID <= post_id <= ID_MAX:
        raise ValueError(
            f"post id {post_id} carries no time: expected a snowflake between "
            f"{FIRST_SNOWFLAKE_ID} and {ID_MAX}"
        )
    return (post_id >> TIMESTAMP_SHIFT) + SNOWFLAKE_EPOCH_MS


def timestamps_ms(post_ids: NDArray[np.uint64] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Creation times [N] int64 of ``post_ids`` [N]; −1 where an id carries none."""
    unsigned = np.asarray(post_ids).astype(np.uint64, copy=False)
    times = (unsigned >> np.uint64(TIMESTAMP_SHIFT)).astype(np.int64) + SNOWFLAKE_EPOCH_MS
    decodable = (unsigned >= np.uint64(FIRST_SNOWFLAKE_ID)) & (unsigned <= np.uint64(ID_MAX))
    return np.where(decodable, times, np.int64(-1))


def oldest_id_since(timestamp_ms: int) -> int:
    """An id of this or a later millisecond is this number or a larger one, up to ``ID_MAX``; ids
    without a time are smaller."""
    first_ms = FIRST_SNOWFLAKE_ID >> TIMESTAMP_SHIFT
    since_ms = timestamp_ms - SNOWFLAKE_EPOCH_MS
    return since_ms << TIMESTAMP_SHIFT if since_ms > first_ms else FIRST_SNOWFLAKE_ID


def first_id_at(timestamp_ms: int) -> int:
    """Smallest id of that millisecond; raises ValueError before the epoch or past 63 bits."""
    post_id = (timestamp_ms - SNOWFLAKE_EPOCH_MS) << TIMESTAMP_SHIFT
    if not 0 <= post_id <= ID_MAX:
        raise ValueError(
            f"timestamp_ms {timestamp_ms} has no snowflake: expected {SNOWFLAKE_EPOCH_MS} to "
            f"{(ID_MAX >> TIMESTAMP_SHIFT) + SNOWFLAKE_EPOCH_MS} (milliseconds since 1970)"
        )
    return post_id


class SnowflakeGenerator:
    """Ids that never repeat for one worker; safe to call from several threads.

    Ids of now take the lower half of a millisecond's sequence and forget passed milliseconds;
    ids of a stated time take the upper half and remember each millisecond they used, so the two
    can never meet.
    """

    def __init__(self, worker_id: int, clock: Clock) -> None:
        """Raises ValueError unless 0 <= worker_id < 1,024."""
        if not 0 <= worker_id < WORKERS:
            raise ValueError(f"worker_id {worker_id}: expected 0 to {WORKERS - 1}")
        self._worker = worker_id << WORKER_SHIFT
        self._clock = clock
        self._lock = threading.Lock()
        self._live_ms = -1
        self._live_used = 0
        self._stated_used: dict[int, int] = {}

    def next(self, at_ms: int | None = None) -> int:
        """A fresh id of now, or of ``at_ms`` for worlds made with their own past.

        A full millisecond (2,048 ids) spills into the next; raises ValueError for a time
        outside the format.
        """
        with self._lock:
            return self._next_live() if at_ms is None else self._next_stated(at_ms)

    def _next_live(self) -> int:
        now_ms = max(self._clock.now_ms(), self._live_ms)  # a clock set back repeats no id
        if now_ms > self._live_ms or self._live_used == SEQUENCES // 2:
            self._live_ms = now_ms if now_ms > self._live_ms else now_ms + 1
            self._live_used = 0
        self._live_used += 1
        return first_id_at(self._live_ms) | self._worker | (self._live_used - 1)

    def _next_stated(self, at_ms: int) -> int:
        while (used := self._stated_used.get(at_ms, 0)) == SEQUENCES // 2:
            at_ms += 1
        self._stated_used[at_ms] = used + 1
        return first_id_at(at_ms) | self._worker | (SEQUENCES // 2 + used)
