"""Accounts: who they are, what they secretly like, and who of them writes, how well.

Tastes and qualities are the world's hidden state: no event and no feature carries them.

Glossary: U accounts, W writers (accounts that post), K topics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foryou.world.config import WorldConfig
from foryou.world.texts import SCREEN_NAME_WORDS, TOPICS

WRITER_SHARE = 0.95  # of the accounts; many writers with few posts keep author diversity cheap
VERIFIED_SHARE = 0.05
LIKED = (1.4, 1.0, 0.5)  # tastes for the three topics an account likes
DISLIKED = -1.0  # for one topic
INDIFFERENT = -0.5  # for all others
TASTE_NOISE = 0.12  # no two accounts like quite the same
PRIMARY_TOPIC_SHARE = 0.85  # of a writer's posts; the rest goes to a second liked topic
FIRST_ACCOUNT_ID = 10_000_000


@dataclass(frozen=True, slots=True)
class Accounts:
    """Columns over U accounts; `writers` lists the W rows that post."""

    ids: NDArray[np.int64]  # [U], ascending
    screen_names: tuple[str, ...]  # [U]
    verified: NDArray[np.bool_]  # [U]
    tastes: NDArray[np.float64]  # [U, K], hidden
    writers: NDArray[np.int64]  # [W] rows of accounts
    quality: NDArray[np.float64]  # [U], hidden, about N(0, 1)
    fame: NDArray[np.float64]  # [U], weight with which the account is followed, 0 for readers
    topic_mix: NDArray[np.float64]  # [U, K], a writer's topics, rows sum to 1


def make_accounts(config: WorldConfig, rng: np.random.Generator) -> Accounts:
    """Accounts with tastes for a few topics each; most of them write about what they like."""
    users, topics = config.users, len(TOPICS)
    ids = FIRST_ACCOUNT_ID + np.cumsum(rng.integers(1, 2_000, users)).astype(np.int64)
    order = _topic_orders(users, topics, rng)
    writers = np.sort(rng.choice(users, int(users * WRITER_SHARE), replace=False)).astype(np.int64)
    quality = rng.normal(size=users)
    fame = np.zeros(users)
    # Pareto with exponent 1.3: the follower counts get the heavy tail of a real community.
    fame[writers] = (rng.pareto(1.3, len(writers)) + 0.3) * np.exp(0.3 * quality[writers])
    return Accounts(
        ids=ids,
        screen_names=_screen_names(users, rng),
        verified=rng.random(users) < VERIFIED_SHARE,
        tastes=_tastes(order, rng),
        writers=writers,
        quality=quality,
        fame=fame,
        topic_mix=_topic_mix(order),
    )


def _topic_orders(users: int, topics: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[U, K] topics of each account, dearest first; some topics are dearer to the world."""
    world_taste = rng.normal(scale=0.4, size=topics)
    keys = world_taste + rng.gumbel(size=(users, topics))
    return np.argsort(-keys, axis=1).astype(np.int64)


def _tastes(order: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    users, topics = order.shape
    by_rank = np.full(topics, INDIFFERENT)
    by_rank[: len(LIKED)] = LIKED
    by_rank[-1] = DISLIKED
    tastes = np.empty((users, topics))
    np.put_along_axis(tastes, order, np.broadcast_to(by_rank, order.shape), axis=1)
    return tastes + rng.normal(scale=TASTE_NOISE, size=order.shape)


def _topic_mix(order: NDArray[np.int64]) -> NDArray[np.float64]:
    users, topics = order.shape
    mix = np.zeros((users, topics))
    mix[np.arange(users), order[:, 0]] = PRIMARY_TOPIC_SHARE
    mix[np.arange(users), order[:, 1]] = 1 - PRIMARY_TOPIC_SHARE
    return mix


def _screen_names(users: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Neutral names, so that none gives its owner's topics away."""
    picks = rng.integers(0, len(SCREEN_NAME_WORDS), (users, 2)).tolist()
    return tuple(
        f"{SCREEN_NAME_WORDS[first]}_{SCREEN_NAME_WORDS[second]}_{row}"
        for row, (first, second) in enumerate(picks)
    )
