"""Which posts a candidate also shows: itself, the original of a repost, the parent of a reply."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.table import CandidateTable

RELATED_COLUMNS: Final = ("post_id", "reposted_post_id", "in_reply_to_post_id")


def related_ids(table: CandidateTable) -> list[NDArray[np.uint64]]:
    """Three columns [N]; 0 where a post has no such relation."""
    return [table[name] for name in RELATED_COLUMNS]


def original_ids(table: CandidateTable) -> NDArray[np.uint64]:
    """[N]: the original of a repost, else the post itself."""
    reposted = table["reposted_post_id"]
    originals: NDArray[np.uint64] = np.where(reposted != 0, reposted, table["post_id"])
    return originals
