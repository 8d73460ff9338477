"""Late: the visibility verdict of each post that may be shown, at the viewer's safety level.

Two levels: posts of followed accounts, and recommendations, which are held to more. A repost also
gets its original's verdict at its own level. A quoted post is held to the recommendations' level;
when it is deleted or not known the quoting post stays and loses its card. A post that the store
does not know stays unknown, and so does every post while the store does not answer: VFFilter
decides what that means.
"""

from __future__ import annotations

import numpy as np

from candidate_pipeline.components import Hydrator
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.protocols import VisibilityBatch, VisibilityLabelStore
from home_mixer.columns import NO, VISIBILITY_UNKNOWN
from home_mixer.query import ScoredPostsQuery
from home_mixer.visibility_rules import REASON_UNKNOWN, stricter, verdict

LABEL_BITS = 32  # as stored

Verdict = tuple[int, str]
NOT_KNOWN: Verdict = (VISIBILITY_UNKNOWN, REASON_UNKNOWN)


class VisibilityHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"post_id", "reposted_post_id", "quoted_post_id", "in_network"})
    writes = frozenset({"visibility_action", "visibility_reason"})

    def __init__(self, store: VisibilityLabelStore, budget_ms: float) -> None:
        self._store = store
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        posts, originals = table["post_id"], table["reposted_post_id"]
        quoted = table["quoted_post_id"]
        seen = await self._store.get_visibility(np.concatenate([posts, originals, quoted]))
        count, levels = len(table), table["in_network"].tolist()
        verdicts = [_verdict(seen, row, level) for row, level in enumerate(levels)]
        for row in np.flatnonzero(originals).tolist():
            original = _verdict(seen, count + row, levels[row])
            verdicts[row] = stricter(verdicts[row], original)
        for row in np.flatnonzero(quoted).tolist():
            card = _labels_verdict(seen, 2 * count + row)
            verdicts[row] = stricter(verdicts[row], card)
        reasons = np.empty(count, dtype=object)
        reasons[:] = [reason for _, reason in verdicts]
        actions = np.array([action for action, _ in verdicts], np.int8)
        return {"visibility_action": actions, "visibility_reason": reasons}


def _verdict(seen: VisibilityBatch, row: int, level: int) -> Verdict:
    """Of a post that is itself shown: it must be known, and not deleted."""
    deleted = bool(seen.deleted[row])
    own = verdict(_numbers(seen.labels[row]), deleted=deleted, in_network=level)
    return own if seen.found[row] else stricter(own, NOT_KNOWN)


def _labels_verdict(seen: VisibilityBatch, row: int) -> Verdict:
    """Of a quoted post: its labels alone."""
    return verdict(_numbers(seen.labels[row]), deleted=False, in_network=NO)


def _numbers(labels: np.uint32) -> list[int]:
    bits = int(labels)
    return [number for number in range(LABEL_BITS) if bits >> number & 1]
