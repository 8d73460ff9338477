"""What a ranker has to beat: rates counted on the training rows, without any model.

    rate(k) = (positives(k) + SMOOTHING · r) / (rows(k) + SMOOTHING),   r = rate over all rows

* popularity of an item = rate(item): the same for every viewer.
* user × item = rate(user) · rate(item) / r: the independence model. Within one viewer it orders as
  popularity does; its AUC over all viewers also knows who acts a lot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 10.0  # rows of prior: about what a video has in a day of KuaiRand-Pure's dev part


@dataclass(frozen=True, eq=False)
class Rates:
    """Smoothed rates of one action by user and by item; an unseen id has the overall rate."""

    user_ids: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    labels: NDArray[np.float32]

    @property
    def overall(self) -> float:
        return float(self.labels.mean()) if len(self.labels) else 0.0

    def of_items(self, item_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Popularity of each item [N]."""
        return self._rates(self.item_ids, item_ids)

    def of_pairs(
        self, user_ids: NDArray[np.int64], item_ids: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """User × item rate of each pair [N], at most 1."""
        product = self._rates(self.user_ids, user_ids) * self._rates(self.item_ids, item_ids)
        return np.minimum(product / max(self.overall, 1e-12), 1.0)

    def _rates(self, keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.float64]:
        distinct, index = np.unique(np.concatenate([keys, wanted]), return_inverse=True)
        known, asked = index[: len(keys)], index[len(keys) :]
        rows = np.bincount(known, minlength=len(distinct))
        positives = np.bincount(known, weights=self.labels, minlength=len(distinct))
        rates: NDArray[np.float64] = (positives + SMOOTHING * self.overall) / (rows + SMOOTHING)
        return rates[asked]
