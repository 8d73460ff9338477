"""Late: the visibility verdict of each post that may be shown, at the viewer's safety level.

Two levels: posts of followed accounts, and recommendations, which are held to more. A repost also
gets its original's verdict at its own level. A quoted post is held to the recommendations' level;
when it is deleted or not known the quoting post stays and loses its card. A post that the store
does not know stays unknown: VFFilter decides what that means.

While the store does not answer, labels that it gave in the last ``stale_ms`` hold, with their age
in ``visibility_age_ms``. Older ones hold against a post and not for it: what was deleted or unsafe
stays so, and everything else is unknown.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from candidate_pipeline.components import FailurePolicy, Hydrator
from candidate_pipeline.errors import Degraded
from candidate_pipeline.schema import AnyArray
from candidate_pipeline.table import CandidateTable
from home_mixer.clients.protocols import Ids, VisibilityBatch, VisibilityLabelStore
from home_mixer.columns import NO, UNKNOWN, VISIBILITY_UNKNOWN
from home_mixer.last_known import LABELS_MAX, REASON_STALE, LastKnown, is_fresh
from home_mixer.query import ScoredPostsQuery
from home_mixer.visibility_rules import REASON_UNKNOWN, stricter, verdict

LABEL_BITS = 32  # as stored
VERDICTS_MAX = 4_096  # of combinations of labels; posts have few, mostly none

_SHOWN = ("post_id", "reposted_post_id", "quoted_post_id")

Verdict = tuple[int, str]
_Seen = tuple[int, bool, bool]  # labels, deleted, found
NOT_KNOWN: Verdict = (VISIBILITY_UNKNOWN, REASON_UNKNOWN)


class VisibilityHydrator(Hydrator[ScoredPostsQuery]):
    reads = frozenset({"post_id", "reposted_post_id", "quoted_post_id", "in_network"})
    writes = frozenset({"visibility_action", "visibility_reason", "visibility_age_ms"})
    on_failure = FailurePolicy.FAIL_CLOSED

    def __init__(
        self,
        store: VisibilityLabelStore,
        budget_ms: float,
        *,
        stale_ms: int = 0,
        labels_max: int = LABELS_MAX,
    ) -> None:
        self._store = store
        self._stale_ms = stale_ms
        columns = {"deleted": np.bool_, "labels": np.uint32}
        self._last_known = LastKnown(labels_max, columns) if stale_ms else None
        self.budget_ms = budget_ms

    async def hydrate(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        post_ids = _shown(table)
        seen = await self._store.get_visibility(post_ids)
        self._remember(query, post_ids, seen)
        return _columns(table, seen, np.zeros(len(table), np.int64))

    def fail_closed(self, query: ScoredPostsQuery, table: CandidateTable) -> dict[str, AnyArray]:
        """Last known verdicts, raised as Degraded("stale") where there are any; else unknown."""
        post_ids = _shown(table)
        read_at_ms = np.full(len(post_ids), UNKNOWN, np.int64)
        known = {"deleted": np.zeros(len(post_ids), np.bool_)}
        known["labels"] = np.zeros(len(post_ids), np.uint32)
        if self._last_known is not None:
            read_at_ms, known = self._last_known.recall(post_ids, post_ids)
        fresh = is_fresh(read_at_ms, query.now_ms, self._stale_ms)
        held = read_at_ms >= 0
        seen = VisibilityBatch(
            found=fresh,
            deleted=held & known["deleted"],
            labels=np.where(held, known["labels"], 0).astype(np.uint32),
        )
        ages = np.where(fresh, np.maximum(query.now_ms - read_at_ms, 0), UNKNOWN)
        columns = _columns(table, seen, ages[: len(table)])
        if not fresh.any():
            return columns
        raise Degraded(REASON_STALE, columns)

    def _remember(self, query: ScoredPostsQuery, post_ids: Ids, seen: VisibilityBatch) -> None:
        if self._last_known is None:
            return
        known = np.flatnonzero(seen.found | seen.deleted)
        ids = post_ids[known]
        columns = {"deleted": seen.deleted[known], "labels": seen.labels[known]}
        self._last_known.remember(ids, ids, columns, query.now_ms)


def _shown(table: CandidateTable) -> Ids:
    """[3N]: the posts, what they repost, what they quote; 0 for none."""
    return np.concatenate([table[name] for name in _SHOWN])


def _columns(
    table: CandidateTable, seen: VisibilityBatch, age_ms: NDArray[np.int64]
) -> dict[str, AnyArray]:
    """Verdicts from rows [3N] of `_shown`."""
    count, levels = len(table), table["in_network"].tolist()
    known = zip(seen.labels.tolist(), seen.deleted.tolist(), seen.found.tolist(), strict=True)
    rows = list(known)  # of Python's own numbers, which are compared one by one below
    verdicts = [_verdict(row, level) for row, level in zip(rows, levels, strict=False)]
    for at in np.flatnonzero(table["reposted_post_id"]).tolist():
        verdicts[at] = stricter(verdicts[at], _verdict(rows[count + at], levels[at]))
    for at in np.flatnonzero(table["quoted_post_id"]).tolist():
        card = _verdict_of(rows[2 * count + at][0], False, NO)  # of a quoted post: labels alone
        verdicts[at] = stricter(verdicts[at], card)
    reasons = np.empty(count, dtype=object)
    reasons[:] = [reason for _, reason in verdicts]
    actions = np.array([action for action, _ in verdicts], np.int8)
    return {
        "visibility_action": actions,
        "visibility_reason": reasons,
        "visibility_age_ms": age_ms,
    }


def _verdict(row: _Seen, level: int) -> Verdict:
    """Of a post that is itself shown: it must be known, and not deleted."""
    labels, deleted, found = row
    own = _verdict_of(labels, deleted, level)
    return own if found else stricter(own, NOT_KNOWN)


@lru_cache(maxsize=VERDICTS_MAX)
def _verdict_of(labels: int, deleted: bool, level: int) -> Verdict:
    numbers = [number for number in range(LABEL_BITS) if labels >> number & 1]
    return verdict(numbers, deleted=deleted, in_network=level)
