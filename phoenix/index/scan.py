"""One pass over the corpus that keeps the best K rows: dot product, filters and top-k fused.

score[n] = sum_d vectors[n, d] * query[d], float32. The order is (score, post_id), both
descending, so equal scores are answered by larger post id whatever row a post lies in. Filters run
only for a row that would enter the K best, so an exclude list of thousands costs next to nothing.

N rows in use, D width, K results, P excluded posts, U excluded authors.
"""

import numba
import numpy as np
from numpy.typing import NDArray

# Reassociation lets the dot product use vector registers; NaN and infinity keep their meaning
# because "nnan" and "ninf" are not among the flags.
_FAST = {"reassoc", "contract"}


@numba.njit(nogil=True, cache=True)
def _contains(sorted_ids: NDArray[np.uint64], wanted: np.uint64) -> bool:
    """Whether ascending `sorted_ids` [P] hold `wanted`."""
    low, high = 0, len(sorted_ids)
    while low < high:
        middle = (low + high) // 2
        if sorted_ids[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return bool(low < len(sorted_ids) and sorted_ids[low] == wanted)


@numba.njit(nogil=True, cache=True)
def _worse(score_a: np.float32, id_a: np.uint64, score_b: np.float32, id_b: np.uint64) -> bool:
    """Whether a ranks behind b."""
    return bool(score_a < score_b or (score_a == score_b and id_a < id_b))


@numba.njit(nogil=True, cache=True)
def _sift_down(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    post_ids: NDArray[np.uint64],
    size: int,
) -> None:
    """Restores the heap whose root is its worst entry, after the root was replaced."""
    at = 0
    while True:
        worst = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < size and _worse(
                scores[child], post_ids[rows[child]], scores[worst], post_ids[rows[worst]]
            ):
                worst = child
        if worst == at:
            return
        rows[at], rows[worst] = rows[worst], rows[at]
        scores[at], scores[worst] = scores[worst], scores[at]
        at = worst


@numba.njit(nogil=True, cache=True)
def _sift_up(
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    post_ids: NDArray[np.uint64],
    last: int,
) -> None:
    """Restores the heap after an entry was appended at `last`."""
    at = last
    while at > 0:
        parent = (at - 1) // 2
        if not _worse(scores[at], post_ids[rows[at]], scores[parent], post_ids[rows[parent]]):
            return
        rows[at], rows[parent] = rows[parent], rows[at]
        scores[at], scores[parent] = scores[parent], scores[at]
        at = parent


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def _dot(vectors: NDArray[np.float32], row: int, query: NDArray[np.float32]) -> np.float32:
    total = np.float32(0.0)
    for d in range(query.shape[0]):
        total += vectors[row, d] * query[d]
    return total


@numba.njit(nogil=True, cache=True)
def scan_top_k(
    vectors: NDArray[np.float32],
    post_ids: NDArray[np.uint64],
    author_ids: NDArray[np.uint64],
    created_ms: NDArray[np.int64],
    used: NDArray[np.bool_],
    size: int,
    query: NDArray[np.float32],
    k: int,
    created_from_ms: int,
    excluded_posts: NDArray[np.uint64],
    excluded_authors: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and scores of the best `k` among the first `size` rows, in heap order (unsorted).

    `excluded_posts` [P] and `excluded_authors` [U] must ascend.
    """
    rows = np.empty(k, np.int64)
    scores = np.empty(k, np.float32)
    found = 0
    if k == 0:
        return rows, scores
    for row in range(size):
        if not used[row] or created_ms[row] < created_from_ms:
            continue
        score = _dot(vectors, row, query)
        post_id = post_ids[row]
        if found == k and not _worse(scores[0], post_ids[rows[0]], score, post_id):
            continue
        if _contains(excluded_posts, post_id) or _contains(excluded_authors, author_ids[row]):
            continue
        if found < k:
            rows[found], scores[found] = row, score
            _sift_up(rows, scores, post_ids, found)
            found += 1
        else:
            rows[0], scores[0] = row, score
            _sift_down(rows, scores, post_ids, k)
    return rows[:found], scores[:found]
