"""What the pictures show, computed from labels and probabilities.

Glossary: N rows, K bins, T thresholds.

* Reliability: rows in K bins of equal mass by prediction; each bin's mean prediction against its
  share of positives, with Wilson's interval at 95 % (Wilson 1927).
* Slices: AUC with DeLong's error in parts of the rows of about equal size.
* ROC and precision–recall over all thresholds, equal scores together, thinned for drawing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phoenix import metrics
from phoenix.evaluation.reliability import BINS, reliability_curve

POSITIVES_A_BIN, BINS_MIN = 10, 3  # of a curve that is drawn; the error is always of BINS
SLICES = 5  # quintiles: enough to see a slope, few enough for a bar of confidence each
Z95 = 1.96  # standard errors of a 95 % interval
CURVE_POINTS_MAX = 120  # of a ROC or precision–recall curve; the eye sees no more
HISTOGRAM_BINS = 30
LOGIT_MAX = 11.5  # predictions beyond 1e-5 and 1 − 1e-5 are drawn at the border

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Reliability:
    """One curve: [K] entries each."""

    predicted: Floats
    observed: Floats
    low: Floats
    high: Floats
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of the bins, weighted by their rows."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.count))


@dataclass(frozen=True, eq=False)
class Histogram:
    """Shares of the negatives and of the positives [K] between the log-odds `edges` [K + 1]."""

    edges: Floats
    negatives: Floats
    positives: Floats


@dataclass(frozen=True, slots=True)
class Slice:
    """AUC among a part of the rows; nan where a label is missing there."""

    label: str
    rows: int
    positives: int
    auc: metrics.Estimate


@dataclass(frozen=True, eq=False)
class Operating:
    """A classifier over all thresholds: [T] entries each, thresholds falling."""

    false_positive_rate: Floats
    recall: Floats
    precision: Floats
    average_precision: float


def bins_for(positives: int) -> int:
    """Fewer bins for a rare action: a share of no or one positive says nothing."""
    return min(max(positives // POSITIVES_A_BIN, BINS_MIN), BINS)


def reliability(labels: Labels, probabilities: Floats, bins: int = BINS) -> Reliability:
    """Bins of equal mass; fewer where predictions are equal or rows are few."""
    curve = reliability_curve(labels, probabilities, bins)
    low, high = wilson(curve.rates, curve.counts)
    return Reliability(curve.probabilities, curve.rates, low, high, curve.counts)


def wilson(share: Floats, count: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """95 % interval of a share of `count` rows."""
    z2 = Z95 * Z95
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * np.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def histogram(labels: Labels, probabilities: Floats) -> Histogram:
    """Predictions of either label, in bins of equal width on the log-odds scale."""
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(probabilities) - np.log1p(-probabilities), -LOGIT_MAX, LOGIT_MAX)
    low, high = float(logits.min()), float(logits.max())
    edges = np.linspace(low, max(high, low + 1e-3), HISTOGRAM_BINS + 1)
    shares = []
    for label in (0, 1):
        counts = np.histogram(logits[labels == label], edges)[0]
        shares.append(counts / max(counts.sum(), 1))
    return Histogram(edges, *shares)


def slices(
    values: Floats, labels: Labels, scores: Floats, describe: Callable[[float, float], str]
) -> list[Slice]:
    """AUC in quantiles of `values`; `describe(smallest, largest)` names one. No rows: no slices."""
    if len(values) == 0:
        return []
    shares = np.arange(1, SLICES + 1) / SLICES
    edges = np.unique(np.quantile(values, shares, method="inverted_cdf"))
    index = np.searchsorted(edges, values)
    found = []
    for part in range(len(edges)):
        rows = index == part
        name = describe(float(values[rows].min()), float(values[rows].max()))
        found.append(slice_of(name, labels[rows], scores[rows]))
    return found


def slice_of(label: str, labels: Labels, scores: Floats) -> Slice:
    return Slice(label, len(labels), int(labels.sum()), metrics.auc_estimate(labels, scores))


def operating(labels: Labels, scores: Floats) -> Operating:
    """Needs both labels. Average precision: precision weighted by each step of recall."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(labels[order], dtype=np.int64)[ends]
    shown = ends + 1
    positives = int(labels.sum())
    recall, precision = hits / positives, hits / shown
    false_rate = (shown - hits) / (len(labels) - positives)
    average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    kept = np.unique(np.linspace(0, len(ends) - 1, CURVE_POINTS_MAX).round().astype(np.int64))
    return Operating(false_rate[kept], recall[kept], precision[kept], average)
