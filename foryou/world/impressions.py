"""Who saw what: sessions in which a logging policy fills each slot at random.

Policy of a slot: a followed writer's recent post (share FOLLOWED), a famous writer's recent post
(FAMOUS), or any post (RANDOM, uniform exploration). Its propensity is the probability with which
one slot of this session shows this post:

    FOLLOWED · [follows] / follows(v) · age(k) + FAMOUS · fame / Σ fame · age(k) + RANDOM / posts(t)

with k = how many posts the writer wrote since, age(k) geometric. A post is shown to a viewer once;
own, deleted, paid and hidden posts are not shown, so the propensity is an upper bound where such
posts were near. Reposts are shown, and recorded, as their source.

Glossary: I impressions, sorted by time; rows are rows of accounts and posts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foryou.world.accounts import Accounts
from foryou.world.config import HOUR_MS, WorldConfig
from foryou.world.graph import Graph
from foryou.world.posts import Posts

FOLLOWED, FAMOUS, RANDOM = 0.45, 0.25, 0.30
RECENT_CHANCE = 0.25  # geometric: the newest post of a writer is shown with this probability
FIRST_SESSION_HOURS = 3.0  # into the window, when there is something to show
SLOT_SECONDS = 12  # between two posts of a session
SERVED_LEAD_MS = 500  # a response is served this long before its first post is seen


@dataclass(frozen=True, slots=True)
class Impressions:
    """Columns over I impressions."""

    viewers: NDArray[np.int64]
    posts: NDArray[np.int64]
    sessions: NDArray[np.int64]  # responses: number, the same for all posts of one
    positions: NDArray[np.int64]  # in the response, 0 is the top
    served_ms: NDArray[np.int64]  # of the response
    seen_ms: NDArray[np.int64]
    propensity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.viewers)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Impressions:
        """The chosen impressions, in the order of `rows`."""
        return Impressions(
            self.viewers[rows],
            self.posts[rows],
            self.sessions[rows],
            self.positions[rows],
            self.served_ms[rows],
            self.seen_ms[rows],
            self.propensity[rows],
        )


def make_impressions(
    config: WorldConfig,
    accounts: Accounts,
    graph: Graph,
    posts: Posts,
    rng: np.random.Generator,
) -> Impressions:
    """Everything the logging policy showed, in the order in which it was seen."""
    sessions = config.sessions
    slots = config.posts_per_session
    first_ms = config.start_ms + int(min(FIRST_SESSION_HOURS, config.window_hours / 4) * HOUR_MS)
    last_ms = config.now_ms - slots * SLOT_SECONDS * 1_000 - 2 * SERVED_LEAD_MS
    starts = np.sort(rng.integers(first_ms, last_ms, sessions)).astype(np.int64)
    viewers = np.repeat(rng.integers(0, config.users, sessions), slots)
    served = np.repeat(starts, slots)
    positions = np.tile(np.arange(slots), sessions)
    policy = _Policy(accounts, graph, posts)
    chosen = policy.choose(viewers, served, rng)
    shown = np.flatnonzero(policy.may_show(viewers, chosen, served))
    impressions = Impressions(
        viewers=viewers[shown],
        posts=chosen[shown],
        sessions=np.repeat(np.arange(sessions), slots)[shown],
        positions=positions[shown],
        served_ms=served[shown],
        seen_ms=served[shown] + SERVED_LEAD_MS + positions[shown] * SLOT_SECONDS * 1_000,
        propensity=policy.propensity(viewers[shown], chosen[shown], served[shown]),
    )
    once = _first_of_each(impressions.viewers * len(posts.ids) + impressions.posts)
    kept = impressions.take(once)
    kept = kept.take(np.argsort(kept.seen_ms, kind="stable"))
    return close_gaps(kept)


def _first_of_each(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the first occurrence of each key, ascending."""
    return np.sort(np.unique(keys, return_index=True)[1])


def close_gaps(impressions: Impressions) -> Impressions:
    """The same impressions, with the positions of each session counted from 0 without gaps."""
    order = np.lexsort((impressions.positions, impressions.sessions))
    sessions = impressions.sessions[order]
    ranks = np.arange(len(order)) - np.searchsorted(sessions, sessions)
    positions = np.empty(len(order), np.int64)
    positions[order] = ranks
    return replace(impressions, positions=positions)


class _Policy:
    """Draws and weighs slots; the writers' posts in time order make both a binary search."""

    def __init__(self, accounts: Accounts, graph: Graph, posts: Posts) -> None:
        self._graph, self._posts = graph, posts
        self._fame = accounts.fame / accounts.fame.sum()
        self._count = len(posts.ids)
        self._by_author = np.sort(posts.authors * self._count + np.arange(self._count))
        users = len(accounts.ids)
        self._follow_starts = np.searchsorted(graph.follows.keys, np.arange(users + 1) * users)

    def choose(
        self, viewers: NDArray[np.int64], at_ms: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """[n] the row of what each slot shows, a source for its repost; −1 where nothing fits."""
        known = np.searchsorted(self._posts.created_ms, at_ms)
        arm = rng.random(len(viewers))
        authors = np.where(
            arm < FOLLOWED,
            self._followed(viewers, rng),
            rng.choice(len(self._fame), len(viewers), p=self._fame),
        )
        recent = self._recent(authors, known, rng.geometric(RECENT_CHANCE, len(viewers)))
        anything = (rng.random(len(viewers)) * known).astype(np.int64)
        rows = np.where(arm < FOLLOWED + FAMOUS, recent, np.where(known > 0, anything, -1))
        return np.where(rows >= 0, self._posts.content[np.maximum(rows, 0)], -1)

    def may_show(
        self,
        viewers: NDArray[np.int64],
        rows: NDArray[np.int64],
        at_ms: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """[n] whether the slot holds a post that this viewer may see at that time."""
        posts, graph = self._posts, self._graph
        some = np.maximum(rows, 0)
        authors = posts.authors[some]
        deleted = (posts.deleted_ms[some] <= at_ms) & (at_ms < posts.undeleted_ms[some])
        paid = posts.paid[some] & ~graph.subscriptions.contains(viewers, authors)
        hidden = graph.hidden(viewers, authors)
        return np.asarray((rows >= 0) & (authors != viewers) & ~deleted & ~paid & ~hidden)

    def propensity(
        self,
        viewers: NDArray[np.int64],
        rows: NDArray[np.int64],
        at_ms: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """[n] probability with which one slot of the session shows the post."""
        authors = self._posts.authors[rows]
        known = np.searchsorted(self._posts.created_ms, at_ms)
        newest = np.searchsorted(self._by_author, authors * self._count + known)
        own = np.searchsorted(self._by_author, authors * self._count + rows)
        age = RECENT_CHANCE * (1 - RECENT_CHANCE) ** np.maximum(newest - own - 1, 0)
        degree = np.diff(self._follow_starts)[viewers]
        follows = self._graph.follows.contains(viewers, authors) / np.maximum(degree, 1)
        by_author = FOLLOWED * follows + FAMOUS * self._fame[authors]
        return np.asarray(by_author * age + RANDOM / np.maximum(known, 1))

    def _followed(self, viewers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """[n] a random account that each viewer follows; if none, the viewer, never shown."""
        starts, degree = self._follow_starts[viewers], np.diff(self._follow_starts)[viewers]
        pick = starts + (rng.random(len(viewers)) * degree).astype(np.int64)
        targets = self._graph.follows.targets
        return np.where(degree > 0, targets[np.minimum(pick, len(targets) - 1)], viewers)

    def _recent(
        self, authors: NDArray[np.int64], known: NDArray[np.int64], back: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """[n] each author's `back`-th newest post among the first `known`; −1 where too few."""
        place = np.searchsorted(self._by_author, authors * self._count + known) - back
        keys = self._by_author[np.maximum(place, 0)]
        found = (place >= 0) & (keys // self._count == authors)
        return np.where(found, keys % self._count, -1)
