"""Ancestors of posts: the parent, then the root of the thread where that is another post."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ancestors_column(
    in_reply_to_post_id: NDArray[np.uint64], conversation_id: NDArray[np.uint64]
) -> NDArray[np.object_]:
    """[N] tuples of ints; () for a post that is no reply."""
    ancestors = np.empty(len(in_reply_to_post_id), dtype=object)
    ancestors.fill(())
    rows = np.flatnonzero(in_reply_to_post_id)
    parents, roots = in_reply_to_post_id[rows], conversation_id[rows]
    deep = (roots != 0) & (roots != parents)
    _fill(ancestors, rows[deep], parents[deep], roots[deep])
    _fill(ancestors, rows[~deep], parents[~deep])
    return ancestors


def _fill(ancestors: NDArray[np.object_], rows: NDArray[np.intp], *ids: NDArray[np.uint64]) -> None:
    """One tuple of ids a row; `zip` makes them without a step of Python each."""
    tuples = zip(*(column.tolist() for column in ids), strict=True)
    ancestors[rows] = np.fromiter(tuples, object, len(rows))
