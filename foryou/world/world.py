"""The world: accounts, graph, posts, what was shown and done, and the truth behind it.

`generate` is deterministic: equal configurations give equal worlds, byte for byte. Only
`World.true_values` and the tests see the hidden state; services get events (`world/events.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foryou.world import outcomes
from foryou.world.accounts import Accounts, make_accounts
from foryou.world.config import WorldConfig
from foryou.world.graph import Edges, Graph, make_graph
from foryou.world.impressions import Impressions, close_gaps, make_impressions
from foryou.world.outcomes import HEAD_INDEX, Shown
from foryou.world.posts import QUOTE, Posts, make_posts


@dataclass(frozen=True, slots=True)
class World:
    """One generated community; see the parts for their columns."""

    config: WorldConfig
    accounts: Accounts
    before: Graph  # relations at the start of the window
    after: Graph  # relations now: with the follows, blocks and mutes of the window
    posts: Posts
    impressions: Impressions
    did: NDArray[np.bool_]  # [I, 18] what followed each impression, in the order of HEADS
    seconds: NDArray[np.float32]  # [I] dwell

    def true_values(self, viewer_id: int, post_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """[n, 19] what this viewer would do now with each post; the last column is seconds.

        Raises KeyError for a viewer or a post that the world does not have.
        """
        viewer = self.account_row(viewer_id)
        rows = self.post_rows(post_ids)
        return outcomes.true_values(_shown(self, np.full(len(rows), viewer), rows, self.after))

    def account_row(self, account_id: int) -> int:
        """Row of an account; KeyError if unknown."""
        row = int(np.searchsorted(self.accounts.ids, account_id))
        if row == len(self.accounts.ids) or self.accounts.ids[row] != account_id:
            raise KeyError(f"account {account_id} is not part of this world")
        return row

    def post_rows(self, post_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """[n] rows of posts; KeyError if one is unknown."""
        wanted = np.asarray(post_ids, np.int64)
        rows = np.minimum(np.searchsorted(self.posts.ids, wanted), len(self.posts.ids) - 1)
        unknown = wanted[self.posts.ids[rows] != wanted]
        if len(unknown):
            raise KeyError(f"post {int(unknown[0])} is not part of this world")
        return np.asarray(rows)

    def seen_post_ids(self, viewer_id: int) -> NDArray[np.int64]:
        """Ids of the posts that the viewer was shown, oldest impression first."""
        rows = self.impressions.posts[self.impressions.viewers == self.account_row(viewer_id)]
        return np.asarray(self.posts.ids[rows])

    def mutual(self, viewer_id: int, author_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[n] whether the viewer and each author follow one another now."""
        viewer = self.account_row(viewer_id)
        authors = np.searchsorted(self.accounts.ids, author_ids)
        follows = self.after.follows
        return follows.contains(np.int64(viewer), authors) & follows.contains(  # type: ignore[arg-type]
            authors,
            np.int64(viewer),  # type: ignore[arg-type]
        )


def generate(config: WorldConfig) -> World:
    """Makes the world of a configuration; about a second for 2,000 users."""
    parts = np.random.SeedSequence(config.seed).spawn(5)
    rngs = [np.random.default_rng(part) for part in parts]
    accounts = make_accounts(config, rngs[0])
    before = make_graph(accounts, rngs[1])
    posts = make_posts(config, accounts, before, rngs[2])
    impressions = make_impressions(config, accounts, before, posts, rngs[3])
    world = World(
        config=config,
        accounts=accounts,
        before=before,
        after=before,
        posts=posts,
        impressions=impressions,
        did=np.zeros((0, outcomes.DISCRETE), bool),
        seconds=np.zeros(0, np.float32),
    )
    return _live(world, rngs[4])


def _live(world: World, rng: np.random.Generator) -> World:
    """Draws the actions; what changes a relation takes effect on all later impressions.

    Impressions of a pair after its first follow, block or mute are left out: the policy that
    made them did not know. So each draw happened under the relation that its truth assumes.
    """
    shown = world.impressions
    did, seconds = outcomes.draw_actions(
        _shown(world, shown.viewers, shown.posts, world.before), rng
    )
    authors = world.posts.authors[shown.posts]
    changing = [HEAD_INDEX[name] for name in ("follow_author", "block_author", "mute_author")]
    changed = np.asarray(did[:, changing].any(axis=1))
    kept = _until_first(shown.viewers * len(world.accounts.ids) + authors, changed)
    shown, did, seconds, authors = shown.take(kept), did[kept], seconds[kept], authors[kept]
    users = len(world.accounts.ids)

    def edges(name: str) -> Edges:
        acted = did[:, HEAD_INDEX[name]]
        return Edges.of(users, shown.viewers[acted], authors[acted])

    blocks, mutes = edges("block_author"), edges("mute_author")
    follows = world.before.follows.union(edges("follow_author")).minus(blocks).minus(mutes)
    after = replace(
        world.before,
        follows=follows,
        blocks=world.before.blocks.union(blocks),
        mutes=world.before.mutes.union(mutes),
    )
    return replace(world, impressions=close_gaps(shown), did=did, seconds=seconds, after=after)


def _until_first(keys: NDArray[np.int64], stops: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows up to and including the first stop of each key; rows are in time order."""
    never = len(keys)
    unique, inverse = np.unique(keys, return_inverse=True)
    first = np.full(len(unique), never)
    rows = np.flatnonzero(stops)
    np.minimum.at(first, inverse[rows], rows)
    return np.flatnonzero(np.arange(never) <= first[inverse])


def _shown(
    world: World, viewers: NDArray[np.int64], rows: NDArray[np.int64], graph: Graph
) -> Shown:
    """What the truth needs of n pairs; reposts count as their source."""
    posts, accounts = world.posts, world.accounts
    content = posts.content[rows]
    authors = posts.authors[content]
    return Shown(
        taste=accounts.tastes[viewers, posts.topics[content]],
        author_quality=accounts.quality[authors],
        post_quality=posts.quality[content],
        follows=graph.follows.contains(viewers, authors),
        photo=posts.photo[content],
        video=posts.video_ms[content] > 0,
        quote=posts.kinds[content] == QUOTE,
    )
