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
    parents, roots = in_reply_to_post_id[rows].tolist(), conversation_id[rows].tolist()
    tuples = (
        (parent, root) if root not in (0, parent) else (parent,)
        for parent, root in zip(parents, roots, strict=True)
    )
    ancestors[rows] = np.fromiter(tuples, object, len(rows))
    return ancestors
