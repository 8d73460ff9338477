"""The truth: what a viewer would do with a post, for every head of January 2026.

    keen(v, p) = TASTE · taste[v, topic(p)] + AUTHOR · quality(author) + POST · quality(p)
                 + FOLLOW · [v follows the author] − CENTER
    u = UTILITY_MAX · tanh(keen / UTILITY_MAX)
    P(h | v, p) = sigmoid(logit(base_h) + slope_h · u), 0 where the post cannot have the action
    seconds = exp(N(ln 5 + 0.8 · u, 0.6)) clipped to [0.5, 300]; "dwell" means ≥ 10 seconds

Base rates are those of a post with u = 0 and give, over the logging policy, rates near those of
the published reference world (behaviour file §6.4). Negative actions are rare and rise with
dislike. A repost is worth what its source is worth: viewers react to what they see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from protos import actions_pb2

# Taste outweighs quality, so that a feed for everyone cannot come near a feed for one.
TASTE, AUTHOR, POST, FOLLOW = 1.8, 0.3, 0.1, 0.8
CENTER = 0.3
UTILITY_MAX = 2.0  # keenness saturates: nobody likes every post
DWELL_LOG_MEAN, DWELL_LOG_SLOPE, DWELL_LOG_SIGMA = float(np.log(5.0)), 0.8, 0.6
DWELL_SECONDS_MIN, DWELL_SECONDS_MAX = 0.5, 300.0
DWELLED_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Head:
    """One discrete action: its probability at u = 0 and how steeply it grows with u."""

    name: str
    base: float
    slope: float
    needs: str = ""  # "video", "photo", "quote" or "unfollowed"


HEADS: tuple[Head, ...] = (
    Head("favorite", 0.10, 1.1),
    Head("reply", 0.008, 1.1),
    Head("repost", 0.028, 1.1),
    Head("photo_expand", 0.20, 0.7, "photo"),
    Head("click", 0.08, 0.8),
    Head("profile_click", 0.015, 0.8),
    Head("video_quality_view", 0.40, 0.9, "video"),
    Head("share", 0.008, 1.1),
    Head("share_via_dm", 0.005, 1.1),
    Head("share_via_copy_link", 0.004, 1.1),
    Head("dwell", 0.0, 0.0),  # follows from the seconds
    Head("quote", 0.010, 1.1),
    Head("quoted_click", 0.10, 0.8, "quote"),
    Head("follow_author", 0.006, 1.0, "unfollowed"),
    Head("not_interested", 0.0022, -1.2),
    Head("block_author", 0.0003, -1.3),
    Head("mute_author", 0.0004, -1.3),
    Head("report", 0.0001, -1.3),
    Head("dwell_time", 0.0, 0.0),  # seconds
)
HEAD_NAMES = tuple(head.name for head in HEADS)
HEAD_INDEX = {name: index for index, name in enumerate(HEAD_NAMES)}
DISCRETE = len(HEADS) - 1
ACTION_NUMBERS = tuple(actions_pb2.Action.Value(f"ACTION_{name.upper()}") for name in HEAD_NAMES)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the truth needs to know of n (viewer, post) pairs; columns [n]."""

    taste: NDArray[np.float64]  # of the viewer for the post's topic
    author_quality: NDArray[np.float64]
    post_quality: NDArray[np.float64]
    follows: NDArray[np.bool_]
    photo: NDArray[np.bool_]
    video: NDArray[np.bool_]
    quote: NDArray[np.bool_]


def utility(shown: Shown) -> NDArray[np.float64]:
    """[n] how much each viewer likes each post."""
    raw = TASTE * shown.taste + AUTHOR * shown.author_quality + POST * shown.post_quality
    keenness = raw + FOLLOW * shown.follows - CENTER
    return np.asarray(UTILITY_MAX * np.tanh(keenness / UTILITY_MAX))


def true_values(shown: Shown) -> NDArray[np.float64]:
    """[n, 19] probability of each head in the order of HEADS; the last column is seconds."""
    u = utility(shown)
    able = {
        "": np.ones(len(u), bool),
        "photo": shown.photo,
        "video": shown.video,
        "quote": shown.quote,
        "unfollowed": ~shown.follows,
    }
    values = np.empty((len(u), len(HEADS)))
    for column, head in enumerate(HEADS[:DISCRETE]):
        if head.base > 0:
            logit = np.log(head.base / (1 - head.base)) + head.slope * u
            values[:, column] = able[head.needs] / (1 + np.exp(-logit))
    values[:, HEAD_INDEX["dwell"]] = dwelled_probability(u)
    values[:, HEAD_INDEX["dwell_time"]] = expected_seconds(u)
    return values


def dwelled_probability(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n] chance of ten seconds or more."""
    grid, dwelled, _ = _dwell_table()
    return np.interp(u, grid, dwelled)


def expected_seconds(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n] mean of the clipped log-normal."""
    grid, _, seconds = _dwell_table()
    return np.interp(u, grid, seconds)


@lru_cache(maxsize=1)
def _dwell_table() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(u, P(dwell), E[seconds]) in closed form; steps of 1/250 keep the error below 1e-4."""
    grid = np.linspace(-UTILITY_MAX, UTILITY_MAX, 2_001)
    rows = [_dwell_at(float(u)) for u in grid]
    return grid, np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


def _dwell_at(u: float) -> tuple[float, float]:
    mean, sigma = DWELL_LOG_MEAN + DWELL_LOG_SLOPE * u, DWELL_LOG_SIGMA
    low = (math.log(DWELL_SECONDS_MIN) - mean) / sigma
    high = (math.log(DWELL_SECONDS_MAX) - mean) / sigma
    middle = math.exp(mean + sigma**2 / 2) * (_normal(high - sigma) - _normal(low - sigma))
    ends = DWELL_SECONDS_MIN * _normal(low) + DWELL_SECONDS_MAX * _normal(-high)
    return _normal((mean - math.log(DWELLED_SECONDS)) / sigma), middle + ends


def _normal(x: float) -> float:
    """Cumulative distribution of the standard normal."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def draw_actions(
    shown: Shown, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """[n, 18] what each viewer did and [n] seconds they stayed, drawn from the truth."""
    probabilities = true_values(shown)[:, :DISCRETE]
    did = rng.random(probabilities.shape) < probabilities
    mean = DWELL_LOG_MEAN + DWELL_LOG_SLOPE * utility(shown)
    seconds = np.exp(mean + DWELL_LOG_SIGMA * rng.normal(size=len(mean)))
    seconds = np.clip(seconds, DWELL_SECONDS_MIN, DWELL_SECONDS_MAX)
    did[:, HEAD_INDEX["dwell"]] = seconds >= DWELLED_SECONDS
    return did, seconds.astype(np.float32)
