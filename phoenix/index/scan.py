"""One pass over the corpus for one query or several: bounds, filters and the best K, fused.

Every row has an estimate of its score and a width; the float32 score lies within estimate +- width
(`codes` proves it). A row can be among the best K only if its upper bound reaches the K-th best
lower bound of the allowed rows. That bound rises while the scan runs, so few rows are looked at
twice; those that are left at the end are scored in float32, which makes the answer exact.

The filters run on rows that reach the bound, before they raise it: a list of thousands of excluded
posts costs next to nothing, and never leaves fewer than K answers.

N rows, B blocks of 64 rows, Q queries, D width, K results, M survivors of one query.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from phoenix.index.dots import BLOCK_ROWS, fetch_ahead, has_instruction, plain_dots, vnni_dots
from phoenix.index.id_map import in_set
from phoenix.index.rows import AUTHOR, BORN, CREATED, GONE, POST

Float = NDArray[np.float32]
Ints = NDArray[np.int64]
Ids = NDArray[np.uint64]
Index = Any  # a whole number; mypy and numba differ in what a sum of two kinds is

# Reassociation lets the dot product use vector registers; NaN and infinity keep their meaning
# because "nnan" and "ninf" are not among the flags.
_FAST = {"reassoc", "contract"}
_code_dots: Any = vnni_dots if has_instruction() else plain_dots
# Survivors beyond those of the last look before they are looked through again: often enough that
# the bound stays tight, seldom enough that finding it does not count.
_BETWEEN_LOOKS = 1024
_BLOCK = np.uint64(BLOCK_ROWS)  # unsigned: a signed index is first looked at for its sign
_UNDERFLOW = np.float32(1e-30)  # products below it are rounded in steps, not in proportion


class Stored(NamedTuple):
    """The index's arrays, as reserved. Without `codes` (B is 0) estimates are float32 scores."""

    vectors: Float  # [N, D]
    codes: NDArray[np.uint8]  # [B, 256 G]
    scales: Float  # [N]
    errors: Float  # [N]
    facts: Ids  # [N, FACTS]


class Survivors(NamedTuple):
    """One thread's rows that may be among the best; its own, but for `bounds`. R is the room."""

    rows: NDArray[np.int32]  # [Q, R]
    lows: Float  # [Q, R]
    highs: Float  # [Q, R]
    counts: Ints  # [Q, 3]: rows held, rows known to be allowed, rows at which to look again
    bounds: Float  # [Q]: the best K-th lower bound that any thread found


def no_survivors(wanted: Ints, rows: int, bounds: Float) -> Survivors:
    """Room for twice what is wanted and two looks; `more_room` makes more of it.

    Not for every row: a large array's first page is one of two megabytes, and to clear three of
    them a query took longer than the scan.
    """
    room = min(rows, 2 * int(wanted.max()) + 4 * _BETWEEN_LOOKS) + BLOCK_ROWS
    shape, counts = (len(wanted), room), np.zeros((len(wanted), 3), np.int64)
    counts[:, 2] = min(_BETWEEN_LOOKS, room - BLOCK_ROWS)
    return Survivors(
        np.empty(shape, np.int32),
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        counts,
        bounds,
    )


def more_room(found: Survivors) -> Survivors:
    """The same survivors with twice the room, when that is not enough for all that tie."""
    rows, lows, highs = (np.concatenate([old, np.empty_like(old)], axis=1) for old in found[:3])
    return Survivors(rows, lows, highs, found.counts, found.bounds)


@numba.njit(nogil=True, cache=True)
def kth_largest(values: Float, k: int) -> Any:
    """The `k`-th largest of `values`, which are put in another order; 1 <= k <= their number."""
    low, high, wanted = 0, len(values) - 1, k - 1
    while low < high:
        middle = (low + high) // 2
        a, b, c = values[low], values[middle], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return values[wanted]


@numba.njit(nogil=True, cache=True)
def _keep_allowed(found: Any, facts: Ids, queries: Any, q: Index) -> Any:
    """Drops the survivors since the last look that query `q` must not see; how many are left."""
    rows, lows, highs = found.rows[q], found.lows[q], found.highs[q]
    snapshot, created_from = queries.snapshot, queries.created_from[q]
    posts = queries.posts[queries.post_ends[q] : queries.post_ends[q + 1]]
    authors = queries.authors[queries.author_ends[q] : queries.author_ends[q + 1]]
    kept = found.counts[q, 1]
    for at in range(kept, found.counts[q, 0]):
        row = np.uint64(rows[at])
        if facts[row, BORN] > snapshot or facts[row, GONE] <= snapshot:
            continue
        if np.int64(facts[row, CREATED]) < created_from:
            continue
        if len(posts) and in_set(posts, facts[row, POST]):
            continue
        if len(authors) and in_set(authors, facts[row, AUTHOR]):
            continue
        rows[kept], lows[kept], highs[kept] = rows[at], lows[at], highs[at]
        kept += 1
    return kept


@numba.njit(nogil=True, cache=True)
def _look_through(found: Any, facts: Ids, queries: Any, q: Index) -> None:
    """Drops survivors that are not allowed, raises the bound, drops those below it."""
    kept = _keep_allowed(found, facts, queries, q)
    rows, lows, highs, wanted = found.rows[q], found.lows[q], found.highs[q], queries.wanted[q]
    if kept >= wanted:
        bound = kth_largest(lows[:kept].copy(), wanted)
        found.bounds[q] = max(bound, found.bounds[q])  # any thread's bound is a true one
    bound, left = found.bounds[q], 0
    for at in range(kept):
        if highs[at] >= bound:
            rows[left], lows[left], highs[left] = rows[at], lows[at], highs[at]
            left += 1
    found.counts[q, 0] = found.counts[q, 1] = left
    found.counts[q, 2] = left + max(_BETWEEN_LOOKS, left // 2)  # more than the room: see caller


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _dot(vectors: Float, row: Index, queries: Float, q: Index) -> Any:
    total = np.float32(0.0)
    for d in range(queries.shape[1]):
        total += vectors[row, d] * queries[q, d]
    return total


@numba.njit(nogil=True, cache=True)
def _bound_block(
    scales: Float,
    errors: Float,
    first: Index,
    factors: Float,
    q: Index,
    bound: np.float32,
    middles: Float,
    highs: Float,
) -> Any:
    """Dot products of 64 rows become estimates with upper bounds; how many reach `bound`."""
    unit, slack, norm = factors[q, 0], factors[q, 1], factors[q, 2]
    hits: Index = 0
    for r in range(_BLOCK):
        scale = scales[first + r]
        middle = scale * (unit * middles[r])
        high = middle + (scale * slack + errors[first + r] * norm + _UNDERFLOW)
        middles[r], highs[r] = middle, high
        hits += np.int32(high >= bound)
    return hits


@numba.njit(nogil=True, cache=True)
def _take(
    rows: NDArray[np.int32],
    lows: Float,
    highs: Float,
    count: int,
    block: tuple[Index, Float, Float],
    bound: np.float32,
    facts: Ids,
) -> int:
    """Puts the rows of a block that reach the bound behind `count` survivors; how many there are.

    What is known of them is fetched ahead, for the next look at them.
    """
    first, middles, tops = block
    for r in range(_BLOCK):
        if tops[r] >= bound:
            rows[count] = first + r
            lows[count] = middles[r] - (tops[r] - middles[r])
            highs[count] = tops[r]
            fetch_ahead(facts, first + r)
            count += 1
    return count


@numba.njit(nogil=True, cache=True)
def scan_blocks(stored: Any, queries: Any, first: int, last: int, found: Any) -> int:
    """Takes the rows of blocks `first` to `last` that may be among the best into `found`.

    Returns the block to go on from, once `found` has more room; `last` when all are done.

    Unsigned indices and arrays out of their tuples: the loop is twice as slow without.
    """
    vectors, codes, scales, errors = stored.vectors, stored.codes, stored.scales, stored.errors
    asked, high, low, starts = queries.vectors, queries.high, queries.low, queries.starts
    factors, bounds = queries.factors, found.bounds
    middles, highs = np.empty(64, np.float32), np.empty(64, np.float32)
    room, full = found.rows.shape[1] - BLOCK_ROWS, False
    for block in range(np.uint64(first), np.uint64(last)):
        row = block * _BLOCK
        for q in range(np.uint64(len(bounds))):
            if len(codes):
                _code_dots(codes, block, high, low, starts, q, middles)
            else:
                for r in range(_BLOCK):
                    middles[r] = _dot(vectors, row + r, asked, q)
            if _bound_block(scales, errors, row, factors, q, bounds[q], middles, highs):
                found.counts[q, 0] = _take(
                    found.rows[q],
                    found.lows[q],
                    found.highs[q],
                    found.counts[q, 0],
                    (row, middles, highs),
                    bounds[q],
                    stored.facts,
                )
                if found.counts[q, 0] >= found.counts[q, 2]:
                    _look_through(found, stored.facts, queries, q)
                    full |= found.counts[q, 2] > room
        if full:
            return int(block) + 1
    return last


@numba.njit(nogil=True, cache=True)
def run_dots(
    codes: NDArray[np.uint8],
    block: int,
    high: NDArray[np.int8],
    low: NDArray[np.int8],
    starts: NDArray[np.int32],
    q: int,
    out: Float,
) -> None:
    """The dot products that the scan uses here, for Python to call; see `dots.plain_dots`."""
    _code_dots(codes, block, high, low, starts, q, out)


@numba.njit(nogil=True, cache=True)
def look_through_all(stored: Any, queries: Any, found: Any) -> None:
    """Leaves every query's allowed survivors only; to be called when all blocks are scanned."""
    for q in range(len(queries.wanted)):
        _look_through(found, stored.facts, queries, q)


@numba.njit(nogil=True, cache=True)
def score_rows(vectors: Float, rows: NDArray[np.int32], queries: Float, q: int) -> Float:
    """Float32 scores of `rows` [M] for query `q`; minus zero becomes zero, its equal."""
    scores = np.empty(len(rows), np.float32)
    for at in range(len(rows)):
        scores[at] = _dot(vectors, rows[at], queries, q) + np.float32(0.0)
    return scores


def n_blocks(rows: int) -> int:
    """B."""
    return -(-rows // BLOCK_ROWS)
