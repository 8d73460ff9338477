"""Is what was served what training sees? Two checks of the feeds whose features were logged.

1. Predictions: the logged features, through training's own feature code and the checkpoint of the
   logged version, must give the logged probabilities to PROBABILITY_DIFFERENCE_MAX.
2. Features: history and candidates, made again from the event topics as training makes them, must
   equal the logged ones (`phoenix.evaluation.skew_features`, which also says what may differ).

The check fails when any prediction differs, when more than DIFFERING_SHARE_MAX of the feeds have a
feature that differs, or when there is nothing to check.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from phoenix.checkpoint import META_FILE, CheckpointError, load_ranker
from phoenix.config import RankerConfig
from phoenix.data.ages import post_ages_seconds
from phoenix.evaluation.skew_features import (
    FRESH_MS_DEFAULT,
    FeatureComparison,
    TrainingFeatures,
    history_batch,
)
from phoenix.evaluation.skew_log import LoggedFeed, SkewLog
from phoenix.features import ranker_inputs
from phoenix.ranker import Ranker
from service_kit.action_list import ACTION_INDEX

PROBABILITY_DIFFERENCE_MAX = 1e-5  # float32 through other shapes and fusions of the same program
DWELL_RELATIVE_DIFFERENCE_MAX = 1e-3  # seconds come out of an exponential
DIFFERING_SHARE_MAX = 0.01  # of feeds: events may come later than the allowance for young ones
CANDIDATES_STEP = 64  # posts are padded to a multiple, so that few shapes are compiled


@dataclass(slots=True)
class SkewReport:
    """What was compared and what differed."""

    served: int = 0
    feeds: int = 0  # with features
    unusable: dict[str, int] = field(default_factory=dict)
    scored: int = 0  # feeds whose model is here
    other_models: dict[str, int] = field(default_factory=dict)  # feeds of models that are not
    probability_difference: float = 0.0
    dwell_relative_difference: float = 0.0
    equal: int = 0  # feeds with the same features
    differing: dict[str, int] = field(default_factory=dict)  # feeds by field
    examples: dict[str, str] = field(default_factory=dict)  # by field
    young_events: int = 0
    open_events: int = 0
    differing_share_max: float = DIFFERING_SHARE_MAX

    def reasons(self) -> list[str]:
        """Why the check failed; none: it passed."""
        found = []
        if not self.scored:
            found.append(
                f"nothing to check: {self.feeds} of {self.served} served feeds kept their features "
                f"and {self.scored} of these by a model that is here ({_listed(self.other_models)} "
                "are not): set HOME_MIXER__SERVED_FEATURES_EVERY, keep the checkpoints that serve"
            )
        if not self.probability_difference <= PROBABILITY_DIFFERENCE_MAX:
            found.append(
                f"predictions: probabilities differ by up to {self.probability_difference:.2e}, "
                f"allowed are {PROBABILITY_DIFFERENCE_MAX:.0e}: the model was given other inputs "
                "than were logged, or is not the checkpoint of its name"
            )
        if not self.dwell_relative_difference <= DWELL_RELATIVE_DIFFERENCE_MAX:
            found.append(
                f"predictions: dwell differs by up to {self.dwell_relative_difference:.2%}, "
                f"allowed are {DWELL_RELATIVE_DIFFERENCE_MAX:.1%}"
            )
        compared = max(self.scored, 1)
        if self.scored - self.equal > self.differing_share_max * compared:
            found.append(
                f"features: {self.scored - self.equal} of {self.scored} feeds differ, allowed are "
                f"{self.differing_share_max:.1%} ({_listed(self.differing)})"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """All counts, and whether the check passed."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        reasons = self.reasons()
        return {**values, "passed": not reasons, "reasons": reasons}


def check_skew(
    log: SkewLog,
    checkpoints: Path,
    *,
    fresh_ms: int = FRESH_MS_DEFAULT,
    differing_share_max: float = DIFFERING_SHARE_MAX,
) -> SkewReport:
    """Check every logged feed whose model is among the versions in `checkpoints`."""
    report = SkewReport(
        served=log.served,
        feeds=len(log.feeds),
        unusable=dict(log.unusable),
        differing_share_max=differing_share_max,
    )
    of_model: dict[str, list[LoggedFeed]] = defaultdict(list)
    for feed in log.feeds.values():
        of_model[feed.model_version].append(feed)
    paths = ranker_versions(checkpoints)
    for version, feeds in sorted(of_model.items()):
        if version in paths:
            _check_model(report, log, paths[version], feeds, fresh_ms)
        else:
            report.other_models[version] = len(feeds)
    return report


def ranker_versions(checkpoints: Path) -> dict[str, Path]:
    """Model version → path, of a directory of versions or of one version itself."""
    metas = [*checkpoints.glob(f"*/{META_FILE}"), *checkpoints.glob(META_FILE)]
    if not metas:
        raise CheckpointError(
            f"no checkpoint in {checkpoints}: expected the directory that the ranker is served from"
        )
    return {json.loads(meta.read_text())["model_version"]: meta.parent for meta in sorted(metas)}


class Rescorer:
    """Scores logged features with a checkpoint, by the code that training runs."""

    def __init__(self, checkpoint: Path) -> None:
        self.config, loaded = load_ranker(checkpoint)
        ranker = Ranker(self.config)
        self._params, self._calibration = loaded.params, loaded.calibration
        self._predict = jax.jit(ranker.predict)

    def score(self, feed: LoggedFeed) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probabilities [C, A of the model] and dwell seconds [C]."""
        count = len(feed.scored_post_ids)
        output = self._predict(self._params, *ranker_inputs(self.config, _batch(self.config, feed)))
        log_probs, dwell = jax.device_get((output.log_probs, output.dwell_seconds))
        served = self._calibration.log_probs(self.config.action_names, log_probs[0, :count])
        return np.exp(served.astype(np.float64)), dwell[0, :count].astype(np.float64)


def _check_model(
    report: SkewReport, log: SkewLog, path: Path, feeds: Sequence[LoggedFeed], fresh_ms: int
) -> None:
    rescorer = Rescorer(path)
    config = rescorer.config
    features = TrainingFeatures(log.events, config.action_names, config.history_length, fresh_ms)
    heads = [ACTION_INDEX[name] for name in config.action_names]
    for feed in feeds:
        probabilities, dwell = rescorer.score(feed)
        served = np.exp(feed.log_probs[:, heads].astype(np.float64))
        apart = _greatest(np.abs(served - probabilities))
        report.probability_difference = max(report.probability_difference, apart)
        relative = _greatest(np.abs(feed.dwell_seconds - dwell) / np.maximum(dwell, 1.0))
        report.dwell_relative_difference = max(report.dwell_relative_difference, relative)
        report.scored += 1
        _count(report, feed, features.compare(feed))


def _count(report: SkewReport, feed: LoggedFeed, comparison: FeatureComparison) -> None:
    report.young_events += comparison.young_events
    report.open_events += comparison.open_events
    report.equal += not comparison.differences
    by_field = Counter(difference.field for difference in comparison.differences)
    for difference in comparison.differences:
        where = f"request {feed.request_id}, {difference.example}"
        report.examples.setdefault(difference.field, where)
    for name, count in by_field.items():
        report.differing[name] = report.differing.get(name, 0) + count


def _greatest(differences: NDArray[np.float64]) -> float:
    """The greatest; infinite where a number is missing on either side."""
    return float(np.nan_to_num(differences, nan=np.inf).max(initial=0.0))


def _batch(config: RankerConfig, feed: LoggedFeed) -> Any:
    """One context with its candidates, [1, S] and [1, C], C padded."""
    history = history_batch(
        *(feed.history, feed.viewer_id, feed.context_at_ms),
        *(config.action_names, config.history_length),
    )
    count = len(feed.scored_post_ids)
    missing = (0, -count % CANDIDATES_STEP)
    posts = np.pad(feed.scored_post_ids, missing)[None]
    return SimpleNamespace(
        **{f.name: getattr(history, f.name) for f in fields(history)},
        candidate_post_ids=posts,
        candidate_author_ids=np.pad(feed.scored_author_ids, missing)[None],
        candidate_surface=np.full(posts.shape, feed.product_surface, np.int32),
        candidate_duration_seconds=np.pad(feed.scored_video_duration_ms / 1000.0, missing)[
            None
        ].astype(np.float32),
        candidate_age_seconds=post_ages_seconds(posts, np.array(feed.served_at_ms)),
        at_ms=np.array([feed.served_at_ms]),
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or 'no version'}: {n}" for name, n in sorted(counts.items())) or "none"
