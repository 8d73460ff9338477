"""Batches for the two-tower model: a viewer's history and one post that they then engaged with.

B examples, S history events, G global negatives. Negatives come from two distributions, and the
sampled softmax subtracts each one's log-probability (log-Q correction): in-batch negatives, the
other examples' positives, are drawn in proportion to how often a post is a positive
(log(count / total)); global negatives are drawn uniformly from the distinct posts of the
impressions (log(1 / posts)). Histories obey the rule of `phoenix.data.batches`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from phoenix.data.ages import post_ages_seconds
from phoenix.data.history import HistoryBatch, HistoryReader
from phoenix.data.impressions import Impressions
from phoenix.data.order import EpochOrder

# Actions that say "this was wanted"; opening or lingering alone may be the opposite.
POSITIVE_ACTIONS = (
    "favorite",
    "reply",
    "repost",
    "quote",
    "share",
    "share_via_dm",
    "share_via_copy_link",
    "video_quality_view",
    "follow_author",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class RetrievalBatch(HistoryBatch):
    """One step's input for the two towers; B equals the batch size in every batch."""

    positive_post_ids: NDArray[np.int64]  # [B]
    positive_author_ids: NDArray[np.int64]  # [B]
    positive_age_seconds: NDArray[np.float32]  # [B], -1: unknown
    positive_log_q: NDArray[np.float32]  # [B] as an in-batch negative
    negative_post_ids: NDArray[np.int64]  # [G]
    negative_author_ids: NDArray[np.int64]  # [G]
    negative_log_q: NDArray[np.float32]  # [G]
    weight: NDArray[np.float32]  # [B], 0: filler at the end of an epoch
    rows: NDArray[np.int64]  # [B] row in the impressions


class RetrievalBatches:
    """Endless deterministic batches; same state and resume rules as `RankerBatches`.

    The last batch of an epoch repeats its examples with weight 0, so that shapes stay. ValueError
    when no row has both weight > 0 and a positive action.
    """

    def __init__(
        self,
        impressions: Impressions,
        *,
        history_length: int,
        batch_size: int,
        negatives: int,
        seed: int = 0,
        positive_actions: Sequence[str] = POSITIVE_ACTIONS,
        include_all: bool = False,
    ) -> None:
        self.impressions = impressions
        self.batch_size, self.negatives, self._seed = batch_size, negatives, seed
        self._positives = _positive_rows(impressions, positive_actions)
        self._log_q = _log_share(impressions.post_ids[self._positives])
        self.corpus_post_ids, first = np.unique(impressions.post_ids, return_index=True)
        self._corpus_author_ids = impressions.author_ids[first]
        self._reader = HistoryReader(impressions, history_length, include_all)
        self._order = EpochOrder(len(self._positives), batch_size, seed)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def next_batch(self) -> RetrievalBatch:
        """The next training batch; never ends."""
        chosen = self._order.take()
        weight = (np.arange(self.batch_size) < len(chosen)).astype(np.float32)
        chosen = np.resize(chosen, self.batch_size)
        rows = self._positives[chosen]
        columns = self.impressions
        at_ms = columns.impressed_at_ms[rows]
        history = self._reader.read(columns.viewer_ids[rows], at_ms)
        drawn = self._draw_negatives()
        return RetrievalBatch(
            **{f.name: getattr(history, f.name) for f in fields(history)},
            positive_post_ids=columns.post_ids[rows],
            positive_author_ids=columns.author_ids[rows],
            positive_age_seconds=post_ages_seconds(columns.post_ids[rows], at_ms),
            positive_log_q=self._log_q[chosen],
            negative_post_ids=self.corpus_post_ids[drawn],
            negative_author_ids=self._corpus_author_ids[drawn],
            negative_log_q=np.full(self.negatives, self.uniform_log_q, dtype=np.float32),
            weight=weight * columns.weight[rows],
            rows=rows,
        )

    def __iter__(self) -> Iterator[RetrievalBatch]:
        while True:
            yield self.next_batch()

    @property
    def uniform_log_q(self) -> float:
        return float(-np.log(len(self.corpus_post_ids)))

    def state_dict(self) -> dict[str, int]:
        return self._order.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._order.load_state_dict(state)

    def _draw_negatives(self) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, 1, self._order.step])
        return rng.integers(0, len(self.corpus_post_ids), size=self.negatives)


def _positive_rows(impressions: Impressions, names: Sequence[str]) -> NDArray[np.int64]:
    known = [i for i, name in enumerate(impressions.action_names) if name in set(names)]
    engaged = impressions.labels[:, known].any(axis=1) & (impressions.weight > 0)
    if not engaged.any():
        raise ValueError(
            f"no impression has weight > 0 and one of the actions {tuple(names)}; "
            f"the impressions' actions are {impressions.action_names}"
        )
    return np.flatnonzero(engaged).astype(np.int64)


def _log_share(post_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log of the share of rows that each row's post has."""
    _, index, counts = np.unique(post_ids, return_inverse=True, return_counts=True)
    return np.log(counts[index] / len(post_ids)).astype(np.float32)
