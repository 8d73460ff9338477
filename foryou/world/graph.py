"""Who follows, blocks, mutes and subscribes to whom.

A viewer follows writers with probability proportional to fame · exp(HOMOPHILY · taste · topics):
heavy-tailed, homophilous, and noisy enough that the graph alone does not tell a taste. Most
follows are not returned.

Glossary: U accounts, E edges; an account is its row, an edge is the key viewer · U + target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foryou.world.accounts import Accounts
from foryou.world.texts import TOPICS, topic_words

HOMOPHILY = 1.6  # follows lean to the taste, but a third of them do not match it
FOLLOWS_MEDIAN = 80
FOLLOWS_MIN, FOLLOWS_MAX = 5, 400
MUTUAL_KEPT = 0.5  # of the follows that chance made mutual: a few friends each
BLOCKS_MEAN, MUTES_MEAN = 1.0, 1.0  # a viewer, before the window
MUTED_KEYWORD_SHARE = 0.2  # of the viewers
SUBSCRIPTION_WRITER_SHARE = 0.06  # of the writers offer paid posts
SUBSCRIBE_SHARE = 0.1  # of the follows of such a writer
_CHUNK = 2_000  # viewers at once, bounds the memory of the viewer × writer matrix


@dataclass(frozen=True, slots=True)
class Edges:
    """A set of (viewer row, target row) pairs, sorted; membership by binary search."""

    users: int
    keys: NDArray[np.int64]  # [E], viewer · users + target, ascending, unique

    @classmethod
    def of(cls, users: int, viewers: NDArray[np.int64], targets: NDArray[np.int64]) -> Edges:
        """From parallel columns, in any order, duplicates count once, own accounts are left out."""
        others = viewers != targets
        return cls(users, np.unique(viewers[others] * users + targets[others]))

    @property
    def viewers(self) -> NDArray[np.int64]:
        return self.keys // self.users

    @property
    def targets(self) -> NDArray[np.int64]:
        return self.keys % self.users

    def contains(self, viewers: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which pairs are edges; the two arrays broadcast."""
        wanted = np.asarray(viewers * self.users + targets)
        if not len(self.keys):
            return np.zeros(wanted.shape, bool)
        found = np.searchsorted(self.keys, wanted)
        return np.asarray(self.keys[np.minimum(found, len(self.keys) - 1)] == wanted)

    def of_viewer(self, viewer: int) -> NDArray[np.int64]:
        """Target rows of one viewer."""
        low, high = np.searchsorted(self.keys, [viewer * self.users, (viewer + 1) * self.users])
        return self.keys[low:high] % self.users

    def union(self, other: Edges) -> Edges:
        return Edges(self.users, np.union1d(self.keys, other.keys))

    def minus(self, other: Edges) -> Edges:
        return Edges(self.users, np.setdiff1d(self.keys, other.keys, assume_unique=True))


@dataclass(frozen=True, slots=True)
class Graph:
    """Relations between accounts at one moment."""

    follows: Edges
    blocks: Edges
    mutes: Edges
    subscriptions: Edges
    muted_keywords: tuple[tuple[int, str], ...]  # (viewer row, word)
    paid_writers: NDArray[np.int64]  # rows whose posts may be for subscribers only

    def follower_counts(self) -> NDArray[np.int64]:
        """[U] followers of each account."""
        return np.bincount(self.follows.targets, minlength=self.follows.users)

    def hidden(self, viewers: NDArray[np.int64], authors: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Pairs in which the viewer blocked or muted the author, or the author the viewer."""
        return (
            self.blocks.contains(viewers, authors)
            | self.mutes.contains(viewers, authors)
            | self.blocks.contains(authors, viewers)
        )


def make_graph(accounts: Accounts, rng: np.random.Generator) -> Graph:
    """The relations that hold before the window begins."""
    users = len(accounts.ids)
    chosen = _choose_follows(accounts, rng)
    mutual = chosen.contains(chosen.targets, chosen.viewers)
    kept = ~mutual | (rng.random(len(mutual)) < MUTUAL_KEPT)
    follows = Edges(users, chosen.keys[kept])
    blocks = _dislikes(accounts, BLOCKS_MEAN, rng)
    mutes = _dislikes(accounts, MUTES_MEAN, rng)
    follows = follows.minus(blocks).minus(mutes)
    paid_count = max(1, int(len(accounts.writers) * SUBSCRIPTION_WRITER_SHARE))
    paid = np.sort(rng.choice(accounts.writers, paid_count, replace=False))
    candidates = np.isin(follows.targets, paid) & (rng.random(len(follows.keys)) < SUBSCRIBE_SHARE)
    return Graph(
        follows=follows,
        blocks=blocks,
        mutes=mutes,
        subscriptions=Edges(users, follows.keys[candidates]),
        muted_keywords=_muted_keywords(accounts, rng),
        paid_writers=paid,
    )


def _choose_follows(accounts: Accounts, rng: np.random.Generator) -> Edges:
    """Weighted draws without replacement for every viewer: the largest log weight + Gumbel."""
    users, writers = len(accounts.ids), accounts.writers
    degrees = np.exp(rng.normal(np.log(FOLLOWS_MEDIAN), 0.7, users)).astype(np.int64)
    most = max(1, min(FOLLOWS_MAX, len(writers) // 3))
    degrees = np.clip(degrees, min(FOLLOWS_MIN, most), most)
    log_fame = np.log(accounts.fame[writers])
    parts = []
    for start in range(0, users, _CHUNK):
        tastes = accounts.tastes[start : start + _CHUNK]
        keys = log_fame + HOMOPHILY * (tastes @ accounts.topic_mix[writers].T)
        keys += rng.gumbel(size=keys.shape)
        ranked = np.argsort(-keys, axis=1)[:, :most]
        rows, places = np.nonzero(np.arange(most) < degrees[start : start + _CHUNK, None])
        parts.append((rows + start, writers[ranked[rows, places]]))
    return Edges.of(users, *(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _dislikes(accounts: Accounts, mean: float, rng: np.random.Generator) -> Edges:
    """A few random writers for each viewer, kept where their main topic is not liked."""
    users = len(accounts.ids)
    viewers = np.repeat(np.arange(users), rng.poisson(2 * mean, users))
    targets = rng.choice(accounts.writers, len(viewers))
    topics = accounts.topic_mix[targets].argmax(axis=1)
    disliked = accounts.tastes[viewers, topics] < 0
    return Edges.of(users, viewers[disliked], targets[disliked])


def _muted_keywords(accounts: Accounts, rng: np.random.Generator) -> tuple[tuple[int, str], ...]:
    users = len(accounts.ids)
    viewers = np.flatnonzero(rng.random(users) < MUTED_KEYWORD_SHARE)
    worst = accounts.tastes[viewers].argmin(axis=1)
    picks = rng.integers(0, 1 << 30, len(viewers)).tolist()
    words = [topic_words(topic) for topic in range(len(TOPICS))]
    return tuple(
        (viewer, words[topic][pick % len(words[topic])])
        for viewer, topic, pick in zip(viewers.tolist(), worst.tolist(), picks, strict=True)
    )
