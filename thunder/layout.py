"""How posts lie in memory: one 64-byte row a post, byte flags, and newest-last author segments.

Glossary: *row* index of a post; *slot* index of an author; *segment* the author's entries of one
kind, ascending by (created_at_ms, post_id); *entry* (time, id, row); *status* what the newest
delete or undelete of a post said, and when. 0 stands for an absent id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

ROW: Final = np.dtype(
    [
        ("post_id", np.uint64),
        ("author_id", np.uint64),
        ("created_at_ms", np.int64),
        ("in_reply_to_post_id", np.uint64),
        ("in_reply_to_user_id", np.uint64),
        ("source_post_id", np.uint64),
        ("source_user_id", np.uint64),
        ("conversation_id", np.uint64),
    ]
)  # 64 bytes: one cache line

# Bits of a post's flags.
DEAD: Final = 1
REPLY: Final = 2
REPOST: Final = 4
VIDEO: Final = 8
HIDDEN: Final = 16  # kept for what refers to it; another share answers with it (shares.py)

# Kinds of segment. A post is in ORIGINALS or SECONDARY, which owns its row, and perhaps in VIDEOS.
ORIGINALS: Final = 0
SECONDARY: Final = 1  # replies and reposts
VIDEOS: Final = 2  # not replies: own videos, and every repost (its source may arrive later)
KINDS: Final = 3

NO_STATUS: Final = -1
NO_ROW: Final = -1
NO_FLOOR: Final = -(1 << 62)
SEGMENT_MIN: Final = 2  # entries in the smallest block; half of all authors post once or twice
BLOCK_CLASSES: Final = 40
AUTHOR_POSTS_MAX: Final = 5000  # x-algorithm, MAX_POSTING_LIST_SIZE, September 2026
MAP_SLOTS_MIN: Final = 64
MEANING: Final = 1  # of the arrays' contents; see `fingerprint`
ENTRIES_PER_POST: Final = 3  # main and video entry, and slack of the doubling blocks

# Numbers that kernels change, in ``State.numbers``.
ROWS_USED: Final = 0  # high-water mark
ROWS_FREE: Final = 1
AUTHORS_USED: Final = 2
AUTHORS_FREE: Final = 3
ARENA_USED: Final = 4
POSTS: Final = 5
DEAD_POSTS: Final = 6
AUTHORS: Final = 7
TOMBSTONES: Final = 8
FLOOR_MS: Final = 9  # posts created up to here made room for newer ones
ENTRIES: Final = 10  # by kind: 10, 11, 12
NUMBERS: Final = 13


class State(NamedTuple):
    """All arrays of a store; N rows, A author slots, E arena entries, M and T map slots."""

    rows: NDArray[np.void]  # [N] ROW
    flags: NDArray[np.uint8]  # [N]
    status_ms: NDArray[np.int64]  # [N] time of the newest delete or undelete, NO_STATUS
    reference: NDArray[np.int32]  # [N] row of the source or parent when last seen: a hint
    free_rows: NDArray[np.int32]  # [N] stack
    post_keys: NDArray[np.uint64]  # [M] open addressing, 0 = empty
    post_rows: NDArray[np.int32]  # [M]
    author_keys: NDArray[np.uint64]  # [M2]
    author_slots: NDArray[np.int32]  # [M2]
    author_ids: NDArray[np.uint64]  # [A]
    starts: NDArray[np.int64]  # [A, KINDS] block in the arena
    heads: NDArray[np.int32]  # [A, KINDS] first entry inside the block
    lengths: NDArray[np.int32]  # [A, KINDS]
    capacities: NDArray[np.int32]  # [A, KINDS] power of two, 0 = no block
    free_authors: NDArray[np.int32]  # [A] stack
    entry_ms: NDArray[np.int64]  # [E]; of a free block: the next free block
    entry_ids: NDArray[np.uint64]  # [E]
    entry_rows: NDArray[np.int32]  # [E]
    free_blocks: NDArray[np.int64]  # [BLOCK_CLASSES] first free block by size, −1 = none
    tomb_keys: NDArray[np.uint64]  # [T] statuses of posts that are not in the store
    tomb_values: NDArray[np.int64]  # [T] status time · 2 + 1 if deleted
    numbers: NDArray[np.int64]  # [NUMBERS]


# By which number of used leading elements an array is cut where only what is in use matters;
# the others (maps, lists of blocks, numbers) matter whole.
USED_BY: Final = {
    **dict.fromkeys(("rows", "flags", "status_ms", "reference"), ROWS_USED),
    "free_rows": ROWS_FREE,
    **dict.fromkeys(("author_ids", "starts", "heads", "lengths", "capacities"), AUTHORS_USED),
    "free_authors": AUTHORS_FREE,
    **dict.fromkeys(("entry_ms", "entry_ids", "entry_rows"), ARENA_USED),
}


def in_use(state: State) -> dict[str, NDArray[Any]]:
    """Views of the parts that hold anything, by field; what a snapshot consists of."""
    numbers = state.numbers
    return {
        name: array[: numbers[USED_BY[name]]] if name in USED_BY else array
        for name, array in state._asdict().items()
    }


def state_for(shapes: Mapping[str, tuple[int, ...]], posts_max: int) -> State:
    """An empty state with room for the parts of `in_use` of the given shapes, by field.

    ValueError where ``posts_max`` is below the posts that the parts hold.
    """
    if shapes["rows"][0] > posts_max:
        raise ValueError(f"{shapes['rows'][0]} rows of posts: there is room for {posts_max}")
    state = new_state(posts_max)
    larger = {
        name: np.zeros(shape, getattr(state, name).dtype)
        for name, shape in shapes.items()
        if name not in USED_BY or shape[0] > len(getattr(state, name))
    }
    return state._replace(**larger)


def fingerprint() -> str:
    """Changes whenever arrays of another build would mean something else. A change of the
    hashing or of the segments' rules must change `MEANING`."""
    arrays = [(name, str(a.dtype.descr), a.ndim) for name, a in new_state(1)._asdict().items()]
    return hashlib.sha256(repr((MEANING, arrays)).encode()).hexdigest()[:16]


def new_map(slots: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """An empty id → row map; ``slots`` is a power of two."""
    return np.zeros(slots, np.uint64), np.zeros(slots, np.int32)


def new_state(posts_max: int) -> State:
    """Room for ``posts_max`` posts. The large arrays cost memory only once they are written."""
    post_keys, post_rows = new_map(MAP_SLOTS_MIN)
    author_keys, author_slots = new_map(MAP_SLOTS_MIN)
    tomb_keys, _ = new_map(MAP_SLOTS_MIN)
    entries = arena_size(posts_max)
    numbers = np.zeros(NUMBERS, np.int64)
    numbers[FLOOR_MS] = NO_FLOOR
    return State(
        rows=np.zeros(posts_max, ROW),
        flags=np.zeros(posts_max, np.uint8),
        status_ms=np.zeros(posts_max, np.int64),
        reference=np.zeros(posts_max, np.int32),
        free_rows=np.zeros(posts_max, np.int32),
        post_keys=post_keys,
        post_rows=post_rows,
        author_keys=author_keys,
        author_slots=author_slots,
        author_ids=np.zeros(posts_max, np.uint64),  # at most one author a post
        starts=np.zeros((posts_max, KINDS), np.int64),
        heads=np.zeros((posts_max, KINDS), np.int32),
        lengths=np.zeros((posts_max, KINDS), np.int32),
        capacities=np.zeros((posts_max, KINDS), np.int32),
        free_authors=np.zeros(posts_max, np.int32),
        entry_ms=np.zeros(entries, np.int64),
        entry_ids=np.zeros(entries, np.uint64),
        entry_rows=np.zeros(entries, np.int32),
        free_blocks=np.full(BLOCK_CLASSES, -1, np.int64),
        tomb_keys=tomb_keys,
        tomb_values=np.zeros(MAP_SLOTS_MIN, np.int64),
        numbers=numbers,
    )


def arena_size(posts_max: int) -> int:
    """Entries of an arena that fits ``posts_max`` posts in the usual case."""
    return max(1024, ENTRIES_PER_POST * posts_max)


def bytes_in_use(state: State) -> int:
    """Bytes of memory that hold data or were written once (array pages not touched are free)."""
    numbers = state.numbers
    row_bytes = ROW.itemsize + 1 + 8 + 4 + 4
    author_bytes = 8 + KINDS * (8 + 4 + 4 + 4) + 4
    maps = (state.post_keys, state.post_rows, state.author_keys, state.author_slots)
    tombs = (state.tomb_keys, state.tomb_values)
    return int(
        numbers[ROWS_USED] * row_bytes
        + numbers[AUTHORS_USED] * author_bytes
        + numbers[ARENA_USED] * (8 + 8 + 4)
        + sum(array.nbytes for array in (*maps, *tombs))
    )
