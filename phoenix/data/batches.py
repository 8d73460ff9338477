"""Shape-static ranker batches for training and prediction, built with numpy alone.

B contexts, S history events, C candidates, A actions. A context is up to C consecutive target rows
of one viewer without a pause longer than `context_gap_ms`; its time is that of the first of them.

No leakage: the history of a context at time t holds events with `impressed_at_ms < t` and
`known_at_ms < t`, both strictly. An event at exactly t, also one of the same request or of an
earlier group of equal time, stays out. The newest event is last (right-anchored, padding at the
start), so its position is the same however long the history is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix.data.ages import post_ages_seconds
from phoenix.data.contexts import CONTEXT_GAP_MS, find_contexts
from phoenix.data.history import HistoryBatch, HistoryReader
from phoenix.data.impressions import Impressions
from phoenix.data.order import EpochOrder


@dataclass(frozen=True, eq=False, kw_only=True)
class RankerBatch(HistoryBatch):
    """One step's input for the ranker; padding has id 0, mask False, weight 0, label 0."""

    candidate_post_ids: NDArray[np.int64]  # [B, C]
    candidate_author_ids: NDArray[np.int64]  # [B, C]
    candidate_surface: NDArray[np.int32]  # [B, C]
    candidate_mask: NDArray[np.bool_]  # [B, C]
    candidate_age_seconds: NDArray[np.float32]  # [B, C] context − post time; -1: unknown
    labels: NDArray[np.float32]  # [B, C, A]
    dwell_seconds: NDArray[np.float32]  # [B, C], nan: unknown
    weight: NDArray[np.float32]  # [B, C]
    rows: NDArray[np.int64]  # [B, C] row in the impressions, -1: padding
    labels_known: NDArray[np.bool_]  # [B, C, A] False: nobody recorded the outcome
    at_ms: NDArray[np.int64]  # [B] time of the context, 0 or less: unknown
    candidate_tags: NDArray[np.int64] | None  # [B, C, G], 0: none
    candidate_duration_seconds: NDArray[np.float32] | None  # [B, C], -1: unknown
    candidate_content: NDArray[np.float32] | None  # [B, C, W], zeros: unknown


class RankerBatches:
    """Endless deterministic batches: every epoch is a new shuffle of all contexts by (seed, epoch).

    The last batch of an epoch is filled with empty contexts (viewer 0, all masked). `state_dict()`
    is the position of the next batch; loading it into an equally built object goes on with the very
    same batches. ValueError when there is no row to train on, or the state is another set's.
    """

    def __init__(
        self,
        impressions: Impressions,
        *,
        history_length: int,
        candidates: int,
        batch_size: int,
        seed: int = 0,
        include_all: bool = False,
        context_gap_ms: int = CONTEXT_GAP_MS,
    ) -> None:
        self.impressions = impressions
        self.batch_size = batch_size
        self._contexts = find_contexts(impressions, candidates, context_gap_ms)
        self._reader = HistoryReader(impressions, history_length, include_all)
        self._order = EpochOrder(len(self._contexts), batch_size, seed)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    @property
    def epoch(self) -> int:
        """Epoch of the batch given last, from 0."""
        return self._order.epoch

    def next_batch(self) -> RankerBatch:
        """The next training batch; never ends."""
        return self._build(self._order.take())

    def __iter__(self) -> Iterator[RankerBatch]:
        while True:
            yield self.next_batch()

    def one_pass(self) -> Iterator[RankerBatch]:
        """Every context once, in order, for prediction; leaves the training position alone."""
        for start in range(0, len(self._contexts), self.batch_size):
            stop = min(start + self.batch_size, len(self._contexts))
            yield self._build(np.arange(start, stop, dtype=np.int64))

    def state_dict(self) -> dict[str, int]:
        return self._order.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._order.load_state_dict(state)

    def _build(self, chosen: NDArray[np.int64]) -> RankerBatch:
        contexts, columns = self._contexts, self.impressions
        history = self._reader.read(contexts.viewer_ids[chosen], contexts.at_ms[chosen])
        rows = contexts.rows[chosen]
        mask = rows >= 0
        at = np.where(mask, rows, 0)
        posts = np.where(mask, columns.post_ids[at], 0)
        ages = post_ages_seconds(posts, contexts.at_ms[chosen][:, None])
        catalogue = columns.catalogue
        if catalogue is not None:
            ages = _known_ages(catalogue.created_of(posts), contexts.at_ms[chosen][:, None], ages)
        batch = RankerBatch(
            **{f.name: getattr(history, f.name) for f in fields(history)},
            candidate_post_ids=posts,
            candidate_author_ids=np.where(mask, columns.author_ids[at], 0),
            candidate_surface=np.where(mask, columns.product_surface[at], 0).astype(np.int32),
            candidate_mask=mask,
            candidate_age_seconds=ages,
            labels=columns.labels[at] * mask[:, :, None],
            dwell_seconds=np.where(mask, columns.dwell_seconds[at], np.nan).astype(np.float32),
            weight=np.where(mask, columns.weight[at], 0.0).astype(np.float32),
            rows=rows,
            labels_known=columns.labels_known[at] & mask[:, :, None],
            at_ms=contexts.at_ms[chosen],
            candidate_tags=None if catalogue is None else catalogue.tags_of(posts),
            candidate_duration_seconds=None if catalogue is None else catalogue.duration_of(posts),
            candidate_content=None if catalogue is None else catalogue.content_of(posts),
        )
        return batch if len(chosen) == self.batch_size else _filled(batch, self.batch_size)


def _known_ages(
    created_ms: NDArray[np.int64], at_ms: NDArray[np.int64], otherwise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Seconds since the creation that the catalogue gives; `otherwise` where it gives none."""
    known = (created_ms > 0) & (at_ms >= created_ms)
    return np.where(known, (at_ms - created_ms) / 1000.0, otherwise).astype(np.float32)


_FILL: dict[str, float] = {"rows": -1, "candidate_age_seconds": -1.0, "dwell_seconds": np.nan}


def _filled(batch: RankerBatch, batch_size: int) -> RankerBatch:
    """The batch with empty contexts appended up to `batch_size`."""
    columns: dict[str, Any] = {}
    for f in fields(batch):
        column = getattr(batch, f.name)
        if column is None:
            columns[f.name] = column
            continue
        filled = np.full((batch_size, *column.shape[1:]), _FILL.get(f.name, 0), dtype=column.dtype)
        filled[: len(column)] = column
        columns[f.name] = filled
    return RankerBatch(**columns)
