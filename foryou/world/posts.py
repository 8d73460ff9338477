"""Two days of posts: originals, replies, reposts and quotes, with media, paid posts, deletions
and labels.

Glossary: N posts, sorted by time, so that a post is its row; −1 means "no such row".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foryou.world.accounts import Accounts
from foryou.world.config import WorldConfig
from foryou.world.graph import Graph
from foryou.world.texts import TOPICS, write_texts
from protos import events_pb2
from service_kit.snowflake import SNOWFLAKE_EPOCH_MS

ORIGINAL, REPLY, REPOST, QUOTE = 0, 1, 2, 3
KIND_NAMES = ("original", "reply", "original", "quote")  # a repost carries its source's text
KIND_SHARES = (0.70, 0.13, 0.11, 0.06)
ACTIVITY_SIGMA = 0.4  # log-normal: some writers post three times as often as others
VIDEO_SHARE, PHOTO_SHARE = 0.18, 0.30  # of originals and quotes
VIDEO_SECONDS_MEDIAN = 25.0
PAID_SHARE = 0.4  # of the originals of a writer who offers subscriptions
DELETED_SHARE = 0.02
UNDELETED_SHARE = 0.2  # of the deleted
LABELLED_SHARE = 0.02
FOLLOWED_TARGET_SHARE = 0.6  # replies, reposts, quotes of followed accounts; the rest by topic
RECENT_POSTS = 30.0  # mean number of posts of the topic between a post and what it answers
NEVER_MS = np.iinfo(np.int64).max
_LABELS = tuple(range(1, 1 + len(events_pb2.VisibilityLabel.values()) - 1))
_SEQUENCE_BITS = 22  # of a snowflake below its milliseconds


@dataclass(frozen=True, slots=True)
class Posts:
    """Columns over N posts."""

    ids: NDArray[np.int64]  # snowflakes
    created_ms: NDArray[np.int64]
    authors: NDArray[np.int64]  # rows of accounts
    kinds: NDArray[np.int8]
    topics: NDArray[np.int64]
    quality: NDArray[np.float64]  # hidden, about N(0, 1)
    targets: NDArray[np.int64]  # row replied to, reposted or quoted
    roots: NDArray[np.int64]  # row of the conversation's first post; itself where none
    video_ms: NDArray[np.int64]  # 0: no video
    photo: NDArray[np.bool_]
    paid: NDArray[np.bool_]
    deleted_ms: NDArray[np.int64]  # NEVER_MS: never
    undeleted_ms: NDArray[np.int64]
    labels: NDArray[np.int8]  # a VisibilityLabel, 0: none
    texts: tuple[str, ...]

    @property
    def content(self) -> NDArray[np.int64]:
        """[N] row of what a viewer sees: a repost shows its source, all others themselves."""
        rows = np.arange(len(self.ids))
        return np.where(self.kinds == REPOST, self.targets, rows)

    def deleted_at(self, at_ms: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """[N] whether each post is deleted at a moment; `at_ms` broadcasts."""
        return (self.deleted_ms <= at_ms) & (at_ms < self.undeleted_ms)


def make_posts(
    config: WorldConfig, accounts: Accounts, graph: Graph, rng: np.random.Generator
) -> Posts:
    """Posts of the window, in the order of their time and so of their ids."""
    count = config.posts
    created = np.sort(rng.integers(config.start_ms, config.now_ms, count)).astype(np.int64)
    activity = np.exp(rng.normal(0, ACTIVITY_SIGMA, len(accounts.writers)))
    authors = rng.choice(accounts.writers, count, p=activity / activity.sum())
    kinds = rng.choice(len(KIND_SHARES), count, p=KIND_SHARES).astype(np.int8)
    topics = _draw_topics(accounts.topic_mix[authors], rng)
    targets = _choose_targets(authors, kinds, topics, graph, rng)
    kinds[targets < 0] = ORIGINAL
    roots = _roots(kinds, targets)
    shared = np.where(kinds == REPLY, roots, targets)  # both are originals: see _choose_targets
    topics = np.where(targets >= 0, topics[shared], topics)
    quality = rng.normal(size=count)
    own_media = (kinds == ORIGINAL) | (kinds == QUOTE)
    medium = rng.random(count)
    video = own_media & (medium < VIDEO_SHARE)
    seconds = np.exp(rng.normal(np.log(VIDEO_SECONDS_MEDIAN), 0.8, count))
    deleted, undeleted = _deletions(config, created, rng)
    labelled = rng.random(count) < LABELLED_SHARE
    paid = (kinds == ORIGINAL) & np.isin(authors, graph.paid_writers)
    paid &= rng.random(count) < PAID_SHARE
    texts = write_texts(topics, [KIND_NAMES[kind] for kind in kinds.tolist()], rng)
    for row in np.flatnonzero(kinds == REPOST).tolist():
        texts[row] = texts[int(targets[row])]
    return Posts(
        ids=_snowflakes(created),
        created_ms=created,
        authors=authors,
        kinds=kinds,
        topics=topics,
        quality=quality,
        targets=targets,
        roots=roots,
        video_ms=np.where(video, (np.clip(seconds, 3, 600) * 1_000), 0).astype(np.int64),
        photo=own_media & ~video & (medium < VIDEO_SHARE + PHOTO_SHARE),
        paid=paid,
        deleted_ms=deleted,
        undeleted_ms=undeleted,
        labels=np.where(labelled, rng.choice(_LABELS, count), 0).astype(np.int8),
        texts=tuple(texts),
    )


def _snowflakes(created_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ids of posts sorted by time: milliseconds since the epoch, then a number within each."""
    first = np.searchsorted(created_ms, created_ms)
    sequence = np.arange(len(created_ms)) - first
    since_epoch: NDArray[np.int64] = created_ms - np.int64(SNOWFLAKE_EPOCH_MS)
    return np.asarray(np.bitwise_or(since_epoch << _SEQUENCE_BITS, sequence), np.int64)


def _draw_topics(mix: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """[N] one topic from each row of probabilities [N, K]."""
    below = mix.cumsum(axis=1) < rng.random((len(mix), 1))
    return np.asarray(np.minimum(below.sum(axis=1), len(TOPICS) - 1), np.int64)


def _choose_targets(
    authors: NDArray[np.int64],
    kinds: NDArray[np.int8],
    topics: NDArray[np.int64],
    graph: Graph,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """[N] an earlier post for each reply, repost and quote; −1 where none exists.

    A reply's target is an original or an earlier reply to it. Reposts and quotes point at
    originals, so that what they show is one step away.
    """
    targets = np.full(len(authors), -1, np.int64)
    topical = _by_topic(kinds, topics, rng)
    followed = _by_follow(authors, kinds, graph, rng)
    use_followed = (rng.random(len(authors)) < FOLLOWED_TARGET_SHARE) & (followed >= 0)
    chosen = np.where(use_followed, followed, topical)
    wants = (kinds != ORIGINAL) & (chosen >= 0)
    wants &= authors != authors[np.maximum(chosen, 0)]
    targets[wants] = chosen[wants]
    return _deepen(kinds, targets, rng)


def _by_topic(
    kinds: NDArray[np.int8], topics: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """[N] a recent original of the post's own topic, −1 where there is none."""
    chosen = np.full(len(kinds), -1, np.int64)
    back = rng.geometric(1 / RECENT_POSTS, len(kinds))
    for topic in range(len(TOPICS)):
        originals = np.flatnonzero((topics == topic) & (kinds == ORIGINAL))
        answers = np.flatnonzero((topics == topic) & (kinds != ORIGINAL))
        place = np.searchsorted(originals, answers) - back[answers]
        chosen[answers[place >= 0]] = originals[place[place >= 0]]
    return chosen


def _by_follow(
    authors: NDArray[np.int64], kinds: NDArray[np.int8], graph: Graph, rng: np.random.Generator
) -> NDArray[np.int64]:
    """[N] the newest original of a random account that the author follows, −1 where none."""
    chosen = np.full(len(kinds), -1, np.int64)
    users = graph.follows.users
    starts = np.searchsorted(graph.follows.keys, np.arange(users + 1) * users)
    degree = np.diff(starts)[authors]
    asks = np.flatnonzero((kinds != ORIGINAL) & (degree > 0))
    pick = starts[authors[asks]] + (rng.random(len(asks)) * degree[asks]).astype(np.int64)
    friends = graph.follows.targets[pick]
    originals = np.flatnonzero(kinds == ORIGINAL)
    # (author, row) keys sort each author's originals by time: the newest before `asks` is one left.
    keys = np.sort(authors[originals] * len(kinds) + originals)
    place = np.searchsorted(keys, friends * len(kinds) + asks) - 1
    found = (place >= 0) & (keys[np.maximum(place, 0)] // len(kinds) == friends)
    chosen[asks[found]] = keys[place[found]] % len(kinds)
    return chosen


def _deepen(
    kinds: NDArray[np.int8], targets: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Lets half of the later replies to one post answer the reply before them instead."""
    replies = np.flatnonzero((kinds == REPLY) & (targets >= 0))
    order = replies[np.lexsort((replies, targets[replies]))]
    same = targets[order][1:] == targets[order][:-1]
    deeper = same & (rng.random(len(same)) < 0.5)
    deep = targets.copy()
    deep[order[1:][deeper]] = order[:-1][deeper]
    return deep


def _roots(kinds: NDArray[np.int8], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] first post of each conversation; a parent is always an earlier row."""
    roots = np.arange(len(kinds))
    for row in np.flatnonzero((kinds == REPLY) & (targets >= 0)).tolist():
        roots[row] = roots[targets[row]]
    return roots


def _deletions(
    config: WorldConfig, created: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[N] when each post was deleted, and when it came back, before now; else NEVER_MS."""
    count = len(created)
    gone = rng.random(count) < DELETED_SHARE
    back = gone & (rng.random(count) < UNDELETED_SHARE)
    deleted = created + ((config.now_ms - created) * rng.random(count)).astype(np.int64)
    undeleted = deleted + ((config.now_ms - deleted) * rng.random(count)).astype(np.int64)
    return np.where(gone, deleted, NEVER_MS), np.where(back, undeleted, NEVER_MS)
