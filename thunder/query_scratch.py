"""What one query thread works with, and the limits of one query.

Kernels of a thread write here and nowhere else; a store keeps as many as queries ran at once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thunder.layout import AUTHOR_POSTS_MAX, ENTRY

INPUT_LIST_MAX: Final = 10_000  # x-algorithm, MAX_INPUT_LIST_SIZE
RESULTS_MAX: Final = 10_000  # results of one query
SET_SLOTS: Final = 1 << 16  # holds INPUT_LIST_MAX ids less than a quarter full
FILTER_BITS: Final = 1 << 17  # 16 KB: of 1,000 excluded ids, one other id in 130 seems to be one
SLICE: Final = 32  # authors whose reads are under way at once
NEAR_PER_SEGMENT: Final = 32  # posts of a segment that are judged with those of others
NEAR_MAX: Final = 2 * SLICE * NEAR_PER_SEGMENT  # of a slice
NEAR_SLICES: Final = 3  # collected, asked for, judged
FOUND_MAX: Final = 2 * RESULTS_MAX + 2 * NEAR_MAX + AUTHOR_POSTS_MAX
DIGITS: Final = 1 << 11  # of the radix sort: three passes for two days of milliseconds
AGES: Final = 1 << 12  # of the glance

# Places in ``Scratch.counts``: what is reported, from SCANNED to ENTRIES_SEEN, and what steers.
FOUND: Final = 0
SCANNED: Final = 1
UNKNOWN_PARENT: Final = 2
PARENT_NOT_FOLLOWED: Final = 3
OWN_REPOSTS: Final = 4
DEAD_SOURCES: Final = 5
EXCLUDED: Final = 6
ENTRIES_SEEN: Final = 7
COUNTS: Final = 8
WANTED: Final = 8  # K
REPLIES_SEEN: Final = 9  # at the glance
FOLLOW_MASK: Final = 10  # slots of the set of this query, less one
EXCLUDE_MASK: Final = 11
AGAIN: Final = 12  # walks that were begun again
COUNT_PLACES: Final = 13
COUNT_NAMES: Final = (
    "scanned",
    "unknown_parent",
    "parent_not_followed",
    "own_repost",
    "deleted_source",
    "excluded",
    "entries_seen",
)


class Scratch(NamedTuple):
    """Working memory of one query at a time."""

    follow_keys: NDArray[np.uint64]  # [SET_SLOTS] open addressing in the first slots, 0 = empty
    exclude_keys: NDArray[np.uint64]
    exclude_filter: NDArray[np.uint8]  # [FILTER_BITS / 8] a bit set: perhaps excluded
    authors: NDArray[np.uint64]  # [INPUT_LIST_MAX] followed ids without duplicates
    slots: NDArray[np.int32]  # [INPUT_LIST_MAX] theirs, −1 without posts
    ages: NDArray[np.int32]  # [AGES] posts by age, at the glance
    near: NDArray[np.void]  # [NEAR_SLICES · NEAR_MAX] ENTRY, of which rules read more
    limit_ms: NDArray[np.int64]  # [1] older posts are not among the newest K
    found_ms: NDArray[np.int64]  # [FOUND_MAX]
    found_rows: NDArray[np.int32]
    sorted_ms: NDArray[np.int64]  # [FOUND_MAX] the sort's other half
    sorted_rows: NDArray[np.int32]
    digits: NDArray[np.int32]  # [DIGITS]
    counts: NDArray[np.int64]  # [COUNT_PLACES]


class Limits(NamedTuple):
    """What one query asks for."""

    viewer_id: np.uint64
    now_ms: int
    cutoff_ms: int  # posts created before are gone
    status_cutoff_ms: int  # statuses of posts not in the store before are forgotten
    originals_max: int  # per author
    secondary_max: int
    videos_max: int
    results_max: int


def new_scratch() -> Scratch:
    return Scratch(
        follow_keys=np.zeros(SET_SLOTS, np.uint64),
        exclude_keys=np.zeros(SET_SLOTS, np.uint64),
        exclude_filter=np.zeros(FILTER_BITS // 8, np.uint8),
        authors=np.zeros(INPUT_LIST_MAX, np.uint64),
        slots=np.zeros(INPUT_LIST_MAX, np.int32),
        ages=np.zeros(AGES, np.int32),
        near=np.zeros(NEAR_SLICES * NEAR_MAX, ENTRY),
        limit_ms=np.zeros(1, np.int64),
        found_ms=np.zeros(FOUND_MAX, np.int64),
        found_rows=np.zeros(FOUND_MAX, np.int32),
        sorted_ms=np.zeros(FOUND_MAX, np.int64),
        sorted_rows=np.zeros(FOUND_MAX, np.int32),
        digits=np.zeros(DIGITS, np.int32),
        counts=np.zeros(COUNT_PLACES, np.int64),
    )
