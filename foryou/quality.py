"""How good are the feeds? Captured engagement, from the world's own truth.

    value(v, p)   = Σ_h weight_h · P(h | v, p), with the boosts that the parameters give
    top(order)    = mean value of the first 20 eligible candidates in that order, over viewers
    captured(o)   = (top(o) − top(newest first)) / (top(oracle) − top(newest first))

So newest-first is 0 and the oracle, which knows the truth, is 1. Eligible candidates are those
that passed every filter. Popularity sees every engagement before now, of posts and of authors,
but no viewer.

Glossary: V viewers, n candidates of one viewer, N posts of the world, I impressions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foryou.world import World
from foryou.world.outcomes import HEAD_INDEX, HEAD_NAMES
from foryou.world.posts import REPLY, REPOST

TOP = 20
EPSILON = 1e-12  # below it the oracle does no better than newest-first and there is no scale
# Actions that say "I like this"; a fair popularity counts no clicks into a post one then hides.
ENGAGEMENTS = ("favorite", "reply", "repost", "quote", "share", "share_via_dm", "follow_author")
AUTHOR_PRIOR = 20.0  # impressions of the average author that every author's rate starts with
DEMO_FOLLOWS = 30  # few enough that the feed shows posts of both networks
POST_PRIOR = 20.0  # impressions at the author's rate that every post's rate starts with


class Weights(Protocol):
    """What is read of `home_mixer.params.RankingParams`."""

    @property
    def weights(self) -> Mapping[str, float]: ...
    @property
    def mutual_follow_reply_boost(self) -> float: ...
    @property
    def mutual_follow_dwell_boost(self) -> float: ...
    @property
    def min_video_duration_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Judged:
    """One viewer's eligible candidates: their true values and the keys of each order."""

    values: NDArray[np.float64]  # [n]
    ours: NDArray[np.float64]  # [n], larger is better, as all keys
    newest: NDArray[np.int64]  # [n]
    popularity: NDArray[np.float64]  # [n]


@dataclass(frozen=True, slots=True)
class Captured:
    """Shares of what the oracle would add to newest-first, and what all four are worth."""

    ours: float
    popularity: float
    viewers: int
    expected_values: Mapping[str, float]  # order → mean true value of its top posts


def captured_engagement(judged: Sequence[Judged], top: int = TOP) -> Captured:
    """Captured engagement over viewers with a candidate; ValueError where there is no scale."""
    some = [viewer for viewer in judged if len(viewer.values)]
    if not some:
        raise ValueError("no viewer has an eligible candidate, so there is nothing to compare")
    keys: dict[str, list[NDArray[np.float64] | NDArray[np.int64]]] = {
        "newest": [viewer.newest for viewer in some],
        "popularity": [viewer.popularity for viewer in some],
        "ours": [viewer.ours for viewer in some],
        "oracle": [viewer.values for viewer in some],
    }
    means = {order: _mean_top(some, key, top) for order, key in keys.items()}
    scale = means["oracle"] - means["newest"]
    if scale < EPSILON:
        raise ValueError(
            "newest-first is already as good as the oracle: there are too few candidates to rank"
        )
    share = {order: (mean - means["newest"]) / scale for order, mean in means.items()}
    return Captured(share["ours"], share["popularity"], len(some), means)


def _mean_top(
    judged: Sequence[Judged],
    keys: Sequence[NDArray[np.float64] | NDArray[np.int64]],
    top: int,
) -> float:
    """Mean over viewers of the mean value of their `top` best candidates by `keys`."""
    means = [
        viewer.values[np.argsort(-key, kind="stable")[:top]].mean()
        for viewer, key in zip(judged, keys, strict=True)
    ]
    return float(np.mean(means))


def expected_values(
    world: World, viewer_id: int, post_ids: NDArray[np.int64], params: Weights
) -> NDArray[np.float64]:
    """[n] what each post is worth to this viewer, by the truth and the ranking's own weights."""
    rows = world.post_rows(post_ids)
    truth = world.true_values(viewer_id, post_ids)
    content = world.posts.content[rows]
    long_video = world.posts.video_ms[content] > params.min_video_duration_ms
    truth[:, HEAD_INDEX["video_quality_view"]] *= long_video
    weights = np.array([params.weights.get(name, 0.0) for name in HEAD_NAMES])
    kinds = world.posts.kinds[rows]
    authors = world.accounts.ids[world.posts.authors[rows]]
    boosted = world.mutual(viewer_id, authors) & (kinds != REPLY) & (kinds != REPOST)
    boost = (
        params.mutual_follow_reply_boost * truth[:, HEAD_INDEX["reply"]]
        + params.mutual_follow_dwell_boost * truth[:, HEAD_INDEX["dwell"]]
    )
    return np.asarray(truth @ weights + boosted * boost)


def popularity(world: World) -> NDArray[np.float64]:
    """[N] engagements per impression of each post, smoothed towards its author and the average.

    A post nobody saw yet has its author's rate; a repost has its source's.
    """
    shown, posts = world.impressions.posts, world.posts
    columns = [HEAD_INDEX[name] for name in ENGAGEMENTS]
    engagements = world.did[:, columns].sum(axis=1).astype(np.float64)
    authors = posts.authors[shown]
    users, count = len(world.accounts.ids), len(posts.ids)
    average = engagements.mean()
    author_rate = (np.bincount(authors, engagements, users) + AUTHOR_PRIOR * average) / (
        np.bincount(authors, minlength=users) + AUTHOR_PRIOR
    )
    prior = author_rate[posts.authors]
    rate = (np.bincount(shown, engagements, count) + POST_PRIOR * prior) / (
        np.bincount(shown, minlength=count) + POST_PRIOR
    )
    return np.asarray(rate[posts.content])


def choose_viewers(world: World, count: int) -> NDArray[np.int64]:
    """[≤ count] ids of viewers who engaged after the cutoff, chosen by the world's seed."""
    recent = world.impressions.seen_ms >= world.config.cutoff_ms
    engaged = world.did[:, [HEAD_INDEX[name] for name in ENGAGEMENTS]].any(axis=1)
    viewers = np.unique(world.impressions.viewers[recent & engaged])
    rng = np.random.default_rng((world.config.seed, 2))
    chosen = rng.choice(viewers, min(count, len(viewers)), replace=False)
    return np.asarray(world.accounts.ids[np.sort(chosen)])


def choose_demo_viewer(world: World) -> int:
    """Id of a viewer whose feed shows everything: history, own posts, followers, blocks, mutes."""
    users = len(world.accounts.ids)
    graph = world.after
    follows = np.maximum(np.bincount(graph.follows.viewers, minlength=users), 1)
    rich = (
        np.minimum(np.bincount(world.impressions.viewers, minlength=users), 150) / 150
        - np.abs(np.log(follows / DEMO_FOLLOWS))
        + np.minimum(graph.follower_counts(), 50) / 50
        + np.isin(np.arange(users), graph.blocks.viewers)
        + np.isin(np.arange(users), graph.mutes.viewers)
        + np.isin(np.arange(users), world.posts.authors)
    )
    return int(world.accounts.ids[int(rich.argmax())])
