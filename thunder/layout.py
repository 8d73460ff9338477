"""How posts lie in memory: one 64-byte row a post, byte flags, and newest-last author segments.

Glossary: *row* index of a post; *slot* index of an author; *segment* the author's entries of one
kind, ascending by (created_at_ms, post_id); *entry* what a query reads of a post before it reads
its row; *status* what the newest delete or undelete of a post said, and when. 0 stands for an
absent id.

Everything that one step of a query reads lies in one cache line: an author's three segments, a
post's row, four entries.
"""

from __future__ import annotations

import hashlib
import mmap
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

ENTRY: Final = np.dtype(
    [
        ("created_ms", np.int64),  # of a free block's first: the next free block
        ("row", np.int32),
        ("mark", np.uint32),  # 24 bits of the id's hash, then the post's flags (`id_map.mark_of`)
    ]
)  # 16 bytes

AUTHOR: Final = np.dtype(
    [
        ("author_id", np.uint64),
        ("first", np.int64, (3,)),  # by kind: oldest entry in the arena
        ("length", np.int32, (3,)),
        ("head", np.int32, (3,)),  # entries of the block before the first
        ("size_class", np.int8, (3,)),  # log2 of the block's entries, 0 = no block
        ("unused", np.int8, (5,)),
    ]
)  # 64 bytes: one cache line

# Bits of a post's flags.
DEAD: Final = 1
REPLY: Final = 2
REPOST: Final = 4
VIDEO: Final = 8
HIDDEN: Final = 16  # kept for what refers to it; another share answers with it (shares.py)
STATUS: Final = 32  # a delete or undelete of it is known

# Kinds of segment. A post is in ORIGINALS or SECONDARY, which owns its row, and perhaps in VIDEOS.
ORIGINALS: Final = 0
SECONDARY: Final = 1  # replies and reposts
VIDEOS: Final = 2  # not replies: own videos, and every repost (its source may arrive later)
KINDS: Final = 3

NO_ROW: Final = -1
NO_FLOOR: Final = -(1 << 62)
SEGMENT_MIN: Final = 2  # entries in the smallest block; half of all authors post once or twice
BLOCK_CLASSES: Final = 40
AUTHOR_POSTS_MAX: Final = 5000  # x-algorithm, MAX_POSTING_LIST_SIZE, September 2026
MAP_SLOTS_MIN: Final = 64
PAGED_BYTES_MIN: Final = 1 << 20  # smaller arrays need no pages of their own
# A status in the map: time · 4 + these.
STATUS_DEAD: Final = 1
STATUS_IN_STORE: Final = 2  # its post is in the store
STATUS_TIME: Final = 2  # bits that its time is shifted by
MEANING: Final = 2  # of the arrays' contents; see `fingerprint`
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
TOMBSTONES: Final = 8  # statuses of posts that are not in the store
FLOOR_MS: Final = 9  # posts created up to here made room for newer ones
ENTRIES: Final = 10  # by kind: 10, 11, 12
STATUSES: Final = 13  # all in the map
NUMBERS: Final = 14


class State(NamedTuple):
    """All arrays of a store; N rows, A author slots, E arena entries, M and T map slots."""

    rows: NDArray[np.void]  # [N] ROW; post_id 0: free
    flags: NDArray[np.uint8]  # [N]
    reference: NDArray[np.int32]  # [N] row of the source or parent when last seen: a hint
    free_rows: NDArray[np.int32]  # [N] stack
    post_slots: NDArray[np.int32]  # [M] open addressing: row + 1, 0 = empty
    author_slots: NDArray[np.int32]  # [M2] the same of authors
    authors: NDArray[np.void]  # [A] AUTHOR; author_id 0: free
    free_authors: NDArray[np.int32]  # [A] stack
    entries: NDArray[np.void]  # [E] ENTRY
    free_blocks: NDArray[np.int64]  # [BLOCK_CLASSES] first free block by size, −1 = none
    tomb_keys: NDArray[np.uint64]  # [T] open addressing, 0 = empty: posts with a known status
    tomb_values: NDArray[np.int64]  # [T] time · 4 + STATUS_IN_STORE + STATUS_DEAD
    numbers: NDArray[np.int64]  # [NUMBERS]


# By which number of used leading elements an array is cut where only what is in use matters;
# the others (maps, lists of blocks, numbers) matter whole.
USED_BY: Final = {
    **dict.fromkeys(("rows", "flags", "reference"), ROWS_USED),
    "free_rows": ROWS_FREE,
    "authors": AUTHORS_USED,
    "free_authors": AUTHORS_FREE,
    "entries": ARENA_USED,
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
        name: zeros(shape[0], getattr(state, name).dtype)
        for name, shape in shapes.items()
        if name not in USED_BY or shape[0] > len(getattr(state, name))
    }
    return state._replace(**larger)


def fingerprint() -> str:
    """Changes whenever arrays of another build would mean something else. A change of the
    hashing or of the segments' rules must change `MEANING`."""
    arrays = [(name, str(a.dtype.descr), a.ndim) for name, a in new_state(1)._asdict().items()]
    return hashlib.sha256(repr((MEANING, arrays)).encode()).hexdigest()[:16]


def zeros(size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """[size] zeros on pages of their own, large ones where the system has them.

    So a row is on one cache line (numpy's own begin 16 bytes into one), a random read rarely
    misses the table of pages, and a page costs memory only once it is written."""
    size_bytes = size * dtype.itemsize
    if size_bytes < PAGED_BYTES_MIN:
        return np.zeros(size, dtype)
    pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype)


def new_state(posts_max: int) -> State:
    """Room for ``posts_max`` posts. The large arrays cost memory only once they are written."""
    numbers = np.zeros(NUMBERS, np.int64)
    numbers[FLOOR_MS] = NO_FLOOR
    int32 = np.dtype(np.int32)
    return State(
        rows=zeros(posts_max, ROW),
        flags=zeros(posts_max, np.dtype(np.uint8)),
        reference=zeros(posts_max, int32),
        free_rows=zeros(posts_max, int32),
        post_slots=np.zeros(MAP_SLOTS_MIN, np.int32),
        author_slots=np.zeros(MAP_SLOTS_MIN, np.int32),
        authors=zeros(posts_max, AUTHOR),  # at most one author a post
        free_authors=zeros(posts_max, int32),
        entries=zeros(arena_size(posts_max), ENTRY),
        free_blocks=np.full(BLOCK_CLASSES, -1, np.int64),
        tomb_keys=np.zeros(MAP_SLOTS_MIN, np.uint64),
        tomb_values=np.zeros(MAP_SLOTS_MIN, np.int64),
        numbers=numbers,
    )


def arena_size(posts_max: int) -> int:
    """Entries of an arena that fits ``posts_max`` posts in the usual case."""
    return max(1024, ENTRIES_PER_POST * posts_max)


def bytes_in_use(state: State) -> int:
    """Bytes of memory that hold data or were written once (array pages not touched are free)."""
    numbers = state.numbers
    row_bytes = ROW.itemsize + 1 + 4 + 4
    maps = (state.post_slots, state.author_slots, state.tomb_keys, state.tomb_values)
    return int(
        numbers[ROWS_USED] * row_bytes
        + numbers[AUTHORS_USED] * (AUTHOR.itemsize + 4)
        + numbers[ARENA_USED] * ENTRY.itemsize
        + sum(array.nbytes for array in maps)
    )
