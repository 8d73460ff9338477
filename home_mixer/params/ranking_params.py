"""Every ranking parameter: name, default, meaning, bounds.

Defaults are the original's of 2026-10-07 except where the sentence says "ours". The weights
multiply *predicted probabilities* for this viewer, not counts: a report is over a thousand times
rarer than a like, hence the size of its weight. Parameters of parts that the suite does not have
(ads, topics, cold start, remote rerank) are left out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from service_kit.action_list import ACTION_INDEX, ACTION_NAMES, CONTINUOUS_ACTIONS

WEIGHT_MAGNITUDE_MAX: Final = 1e6  # far beyond the published −234; keeps sums exact enough
HASH_CHARS: Final = 12  # 48 bits: two tables of a deployment will not collide


def _param(default: Any, doc: str, minimum: float = 0, maximum: float = math.inf) -> Any:
    return field(default=default, metadata={"doc": doc, "min": minimum, "max": maximum})


@dataclass(frozen=True, kw_only=True)
class RankingParams:
    """One complete, checked table. ValueError names the parameter, what came and its bounds."""

    name: str = field(metadata={"doc": "the table's name"})
    weights: Mapping[str, float] = field(
        metadata={
            "doc": "weight of each of the 25 heads; the continuous ones are per second and ≥ 0"
        }
    )
    mutual_follow_reply_boost: float = _param(
        15.0, "added to the reply weight of an original post by a mutual follow"
    )
    mutual_follow_dwell_boost: float = _param(
        0.0, "added to the dwell weight of an original post by a mutual follow"
    )
    negative_scores_offset: float = _param(
        0.001, "ε of the offset: a net-zero post's score", 1e-9, 1.0
    )
    min_video_duration_ms: int = _param(
        10_000, "video_quality_view counts for strictly longer videos only"
    )
    enable_author_diversity: bool = _param(True, "lower an author's second and later posts")
    author_diversity_decay: float = _param(0.5, "factor a further post of one author", 0.0, 1.0)
    author_diversity_floor: float = _param(0.25, "the multiplier never falls below it", 0.0, 1.0)
    author_diversity_by_original_author: bool = _param(
        False, "ours: count a repost for the original's author instead of the reposter"
    )
    oon_weight_factor: float = _param(0.75, "multiplier of out-of-network posts", 0.0, 1.0)
    enable_oon_rescore_for_in_network_replies_reposts: bool = _param(
        True, "in-network replies and reposts get the out-of-network factor too"
    )
    fallback_half_life_seconds: int = _param(
        21_600, "ours: an unscored post's fallback halves with this much age", 1
    )
    max_post_age_seconds: int = _param(172_800, "older posts are removed; exactly as old stays", 1)
    top_k: int = _param(50, "posts that go through the late stages", 1, 10_000)
    result_size: int = _param(35, "posts in a response", 1, 10_000)
    user_action_window_ms: int = _param(
        300_000, "actions on one post within this time become one event of the history", 1
    )
    scoring_sequence_length: int = _param(1_024, "newest events that the ranker sees", 1, 65_536)
    retrieval_sequence_length: int = _param(1_024, "newest events that retrieval sees", 1, 65_536)
    phoenix_max_results: int = _param(1_000, "posts asked of retrieval", 1, 100_000)
    thunder_max_results: int = _param(1_200, "posts asked of thunder", 1, 100_000)
    phoenix_max_candidates: int = _param(2_800, "candidates a call to the ranker", 1, 2_800)
    enable_served_filter_all_requests: bool = _param(
        True, "leave out served posts on every request, not on bottom requests alone"
    )
    served_history_window_seconds: int = _param(600, "how long a served post counts as served")
    served_history_posts_max: int = _param(100, "newest served posts that count", 0, 10_000)
    enable_fail_closed_visibility: bool = _param(
        True, "ours: drop a post whose visibility could not be read"
    )
    enable_fail_closed_muted_keywords: bool = _param(
        True, "ours: drop a post whose text could not be read if the viewer mutes keywords"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", MappingProxyType(_checked_weights(self.weights)))
        for item in fields(self):
            if item.name not in ("name", "weights"):
                value = _checked(item.name, getattr(self, item.name), item.default, item.metadata)
                object.__setattr__(self, item.name, value)
        if self.result_size > self.top_k:
            raise ValueError(
                f"result_size is {self.result_size} and top_k {self.top_k}; raise top_k: "
                "a response holds no more posts than the late stages see"
            )

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, as a table's file could hold it."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["weights"] = dict(self.weights)
        return values

    @cached_property
    def params_hash(self) -> str:
        """Short hash of every value but the name; equal tables have equal hashes everywhere."""
        values = self.as_dict()
        del values["name"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_CHARS]

    @cached_property
    def negative_weights_sum(self) -> float:
        """N: Σ of the magnitudes of the negative weights."""
        return -math.fsum(weight for weight in self.weights.values() if weight < 0.0)

    @cached_property
    def weights_sum(self) -> float:
        """W: Σ of the positive weights of probabilities (boosts and seconds left out), plus N."""
        positive = math.fsum(
            weight
            for head, weight in self.weights.items()
            if weight > 0.0 and head not in CONTINUOUS_ACTIONS
        )
        return positive + self.negative_weights_sum


def _checked_weights(weights: object) -> dict[str, float]:
    if not isinstance(weights, Mapping):
        raise ValueError(f"weights is {weights!r}; a table of head = weight is expected")
    unknown = sorted(set(weights) - set(ACTION_INDEX))
    if unknown:
        known = ", ".join(ACTION_NAMES)
        raise ValueError(f"weights names the unknown head {unknown[0]!r}; the heads are {known}")
    # A head that a table does not name weighs nothing.
    return {head: _checked_weight(head, weights.get(head, 0.0)) for head in ACTION_NAMES}


def _checked_weight(head: str, value: object) -> float:
    # Seconds have no upper bound, so a negative weight on them would break the offset's order.
    minimum = 0.0 if head in CONTINUOUS_ACTIONS else -WEIGHT_MAGNITUDE_MAX
    bounds = {"min": minimum, "max": WEIGHT_MAGNITUDE_MAX}
    return float(_checked(f"weights.{head}", value, 0.0, bounds))


def _checked(name: str, value: Any, default: Any, bounds: Mapping[str, Any]) -> Any:
    """``value`` in the default's type, or ValueError."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; true or false is expected")
        return value
    kind = "a whole number" if isinstance(default, int) else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}; {kind} is expected")
    if isinstance(default, int) and value != int(value):
        raise ValueError(f"{name} is {value!r}; a whole number is expected")
    if not bounds["min"] <= value <= bounds["max"]:
        limits = f"{bounds['min']:g} to {bounds['max']:g}"
        raise ValueError(f"{name} is {value!r}; {limits} is expected")
    return type(default)(value)
