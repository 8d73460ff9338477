"""What no feed may hold, checked against the world's truth rather than the services' stores.

No post that is deleted, the viewer's own, seen before, for subscribers only, or holds a muted word;
none by, reposted from or quoting somebody whom the viewer blocks or mutes or who blocks the viewer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from foryou.world import World
from foryou.world.graph import Edges
from foryou.world.posts import QUOTE, REPLY, REPOST


def broken_promises(world: World, viewer_id: int, post_ids: NDArray[np.int64]) -> list[str]:
    """One sentence for each post that must not be in the viewer's feed now; [] is a good feed."""
    viewer = world.account_row(viewer_id)
    rows = world.post_rows(post_ids)
    return [
        f"post {post_id}: {reason}"
        for post_id, row in zip(post_ids.tolist(), rows.tolist(), strict=True)
        for reason in _reasons(world, viewer, row)
    ]


def _reasons(world: World, viewer: int, row: int) -> Iterator[str]:
    posts = world.posts
    author, target = int(posts.authors[row]), int(posts.targets[row])
    if author == viewer:
        yield "the viewer's own"
    if _deleted(world, row) or (posts.kinds[row] == REPOST and _deleted(world, target)):
        yield "deleted"
    shown = int(posts.content[row])
    payee = int(posts.authors[shown])
    if posts.paid[shown] and not _edge(world.after.subscriptions, viewer, payee):
        yield f"only for subscribers of {world.accounts.ids[payee]}"
    if _related(world, row) & _seen(world, viewer):
        yield "seen before"
    yield from _hidden(world, viewer, author, "by")
    if posts.kinds[row] in (REPOST, QUOTE):
        yield from _hidden(world, viewer, int(posts.authors[target]), "repeating")
    words = {word for muter, word in world.before.muted_keywords if muter == viewer}
    if words & _words(posts.texts[row]):
        yield f"contains a muted word ({', '.join(sorted(words))})"


def _hidden(world: World, viewer: int, author: int, how: str) -> Iterator[str]:
    graph, account = world.after, world.accounts.ids[author]
    if _edge(graph.blocks, viewer, author):
        yield f"{how} {account}, whom the viewer blocks"
    if _edge(graph.mutes, viewer, author):
        yield f"{how} {account}, whom the viewer mutes"
    if _edge(graph.blocks, author, viewer):
        yield f"{how} {account}, who blocks the viewer"


def _edge(edges: Edges, viewer: int, target: int) -> bool:
    return bool(edges.contains(np.array([viewer]), np.array([target]))[0])


def _deleted(world: World, row: int) -> bool:
    now_ms = world.config.now_ms
    return bool(world.posts.deleted_ms[row] <= now_ms < world.posts.undeleted_ms[row])


def _related(world: World, row: int) -> set[int]:
    """The post, what it reposts, and what it replies to."""
    posts = world.posts
    return {row, int(posts.targets[row])} if posts.kinds[row] in (REPLY, REPOST) else {row}


def _seen(world: World, viewer: int) -> set[int]:
    return set(world.impressions.posts[world.impressions.viewers == viewer].tolist())


def _words(text: str) -> set[str]:
    return {word.strip(".,:;?!").lower() for word in text.split()}
